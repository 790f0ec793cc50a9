/**
 * When is a certificate due for renewal?
 * Owns: the lifetime-share rule, the spread, and the floor that keeps a fresh certificate from being renewed at once.
 * Never: counts in days (lifetimes go from 90 to 45 days, and 160 hours and one hour exist), waits, or orders.
 */
import type { CertificateBundle } from "../../storage/bundles.ts";

const TEN_DAYS_MS = 10 * 86_400_000;
/** Let's Encrypt's integration guide: a third of the life left, half of a short one. */
const SHARE = 1 / 3;
const SHARE_OF_SHORT_LIFE = 1 / 2;
/** Whatever share is configured: in the last twentieth a certificate is due. */
const LAST_SHARE = 1 / 20;
/** Names that were issued together come apart, and homes that installed in the same minute do, too. */
const SPREAD_SHARE = 1 / 60;
const MAX_SPREAD_MS = 86_400_000;
/** With a share of nearly all a new certificate is due at birth: an order each minute would follow. */
const REST_SHARE = 1 / 100;

export type Lifetime = Pick<CertificateBundle, "notBefore" | "notAfter" | "issuedAt" | "serial">;

/**
 * The instant of renewal, ms since 1970. The spread is computed from the serial number, so that it stays the same over
 * restarts without being kept.
 *
 * @param share  renew when this share of the life is left. Default 1/3, and 1/2 for lives under ten days.
 * @param advised  what the CA said (RFC 9773), ms since 1970: it counts instead of the share, between the floor and the rest
 */
export function renewAt(certificate: Lifetime, share?: number, advised?: number): number {
  const { notBefore, notAfter, issuedAt } = certificate;
  const life = Math.max(notAfter - notBefore, 0);
  const left = share ?? (life < TEN_DAYS_MS ? SHARE_OF_SHORT_LIFE : SHARE);
  const spread = spreadOf(certificate.serial) * Math.min(life * SPREAD_SHARE, MAX_SPREAD_MS);
  const due = advised ?? notAfter - life * left + spread;
  const rested = issuedAt + life * REST_SHARE;
  return Math.min(Math.max(due, rested), notAfter - life * LAST_SHARE);
}

/** 0 … 1 from the random low end of a serial number (CAs must put 64 random bits in). */
function spreadOf(serial: string): number {
  const value = Number.parseInt(serial.slice(-8), 16);
  return Number.isFinite(value) ? value / 0x1_0000_0000 : 0;
}

/**
 * Is an order needed for what we hold?
 *
 * @param wanted.fits  is it of a CA we want, for the names we want? If not (the configuration has changed) it is due at once
 */
export function isDue(
  bundle: CertificateBundle | undefined,
  wanted: {
    fits: (bundle: CertificateBundle) => boolean;
    share: number | undefined;
    advised?: number | undefined;
    now: number;
  },
): boolean {
  return bundle === undefined || !wanted.fits(bundle) || renewAt(bundle, wanted.share, wanted.advised) <= wanted.now;
}
