/**
 * What becomes of a certificate that a person brings, and what is given to one who takes it elsewhere?
 * Owns: which sites a brought certificate is for, and what speaks against taking it.
 * Never: reads the files of other programs (tls/import does, at the command line) or orders.
 */
import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { BringActions, ImportOutcome } from "../admin/actions.ts";
import { errorText, GatehouseError } from "../core/errors.ts";
import { systemClock } from "../core/time.ts";
import { tlsSettings } from "../core/tls-settings.ts";
import type { Issuing } from "../issuing.ts";
import type { Logger } from "../observe/log.ts";
import { type BundleStore, type CertificateBundle, IMPORTED } from "../storage/bundles.ts";
import { checkBundle, namesIn } from "../storage/check-bundle.ts";

export interface BringTools {
  bundles: BundleStore;
  log: Logger;
  issuing(): Pick<Issuing, "lookAgain" | "knows">;
  /** Names that get certificates, those with files of their own included. */
  names(): readonly string[];
  /** @throws GATEHOUSE_REQUEST_REFUSED for one with files of its own */
  assertOurs(name: string): void;
}

export function createBringing({ bundles, log, issuing, names, assertOurs }: BringTools): BringActions {
  async function take(bundle: CertificateBundle, force: boolean): Promise<ImportOutcome> {
    const { name, issuer, notAfter, serial } = bundle;
    const held = await bundles.load(name);
    const isLonger = held !== undefined && held.revokedAt === undefined && held.notAfter >= notAfter;
    if (isLonger && (!force || held.serial === serial)) {
      return { name, outcome: "kept", issuer: held.issuer, notAfter: held.notAfter };
    }
    await bundles.save(bundle);
    log.info({ event: "certificate.imported", name, serial, issuer, notAfter }, "certificate imported");
    issuing().lookAgain(name);
    return { name, outcome: "imported", issuer, notAfter };
  }

  return {
    async importBundle({ keyPem, chainPem, ca, name: wanted, force }) {
      const known = names();
      if (wanted !== undefined && !known.includes(wanted)) throw unknown([wanted]);
      const meant = wanted === undefined ? known : [wanted];
      const results: ImportOutcome[] = [];
      let refused = "";
      for (const name of meant) {
        const check = checkBundle(name, keyPem, chainPem);
        if ("reason" in check) {
          refused = check.reason;
          continue;
        }
        assertOurs(name);
        if (results.length === 0) assertServable(keyPem, chainPem);
        const source = ca !== undefined && issuing().knows(ca) ? ca : IMPORTED;
        const bundle = { name, keyPem, chainPem, ca: source, issuedAt: systemClock.now(), ...check.facts };
        results.push(await take(bundle, force));
      }
      if (results.length > 0) return { results };
      if (wanted === undefined) throw unknown(namesIn(new X509Certificate(chainPem)));
      throw new GatehouseError("GATEHOUSE_IMPORT_KEY", {
        message: `This certificate does not fit ${wanted}: ${refused}.`,
        hint: "gatehouse ls shows the names that can take one.",
      });
    },

    async exportBundle({ name }) {
      if (!names().includes(name)) throw unknown([name]);
      const bundle = await bundles.load(name);
      if (bundle === undefined) {
        throw new GatehouseError("GATEHOUSE_CERTIFICATE_PENDING", {
          message: `There is no certificate for ${name} yet.`,
          hint: `gatehouse issue ${name} orders one.`,
        });
      }
      const { keyPem, chainPem, serial, notAfter } = bundle;
      log.warn({ event: "certificate.exported", name, serial }, "certificate and key were handed out");
      return { name, keyPem, chainPem, notAfter };
    },
  };
}

/** What OpenSSL would refuse at the first handshake (a key of 1024 bits, an MD5 signature) is refused here. */
function assertServable(keyPem: string, chainPem: string): void {
  try {
    createSecureContext({ ...tlsSettings, key: keyPem, cert: chainPem });
  } catch (cause) {
    throw new GatehouseError("GATEHOUSE_IMPORT_KEY", {
      message: `OpenSSL refuses to serve this certificate: ${errorText(cause)}`,
      hint: "Have it issued anew with a key of today: P-256, or RSA of 2048 bits and more.",
      cause,
    });
  }
}

const unknown = (names: readonly string[]): GatehouseError =>
  new GatehouseError("GATEHOUSE_CERTIFICATE_UNKNOWN_NAME", {
    message:
      names.length === 0
        ? "No site has a name that this certificate is for."
        : `No site is named ${names.slice(0, 5).join(" or ")}.`,
    hint: "Write the name under sites: first; gatehouse ls shows the names there are.",
  });
