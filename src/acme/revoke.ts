/**
 * How is a certificate taken back?
 * Owns: who asks for it: the account that ordered it, else the certificate's own key, which every CA must take.
 * Never: removes it from the store, or orders the next one.
 *
 * RFC 8555 §7.6: the key of the certificate is as good as the account. It is all there is for a certificate whose account
 * is gone (a CA that forgot us, a state folder begun anew, an import).
 */
import type { CertificateBundle } from "../storage/bundles.ts";
import { type AcmeWire, problemType } from "./wire/wire.ts";

export interface RevocationTools {
  /** Work with the wire of the account of this name. */
  withAccount(name: string, work: (wire: AcmeWire) => Promise<void>): Promise<void>;
  /** A wire that signs with this key, and has no account. */
  connect(keyPem: string): AcmeWire;
}

/**
 * Done already is as good.
 *
 * @param reason  a number of RFC 5280 §5.3.1
 * @throws GATEHOUSE_ACME_*
 */
export async function revokeCertificate(
  tools: RevocationTools,
  { name, chainPem, keyPem }: Pick<CertificateBundle, "name" | "chainPem" | "keyPem">,
  reason: number,
  signal: AbortSignal,
): Promise<void> {
  const [leaf = ""] = chainPem.split(/(?<=-----END CERTIFICATE-----)/);
  try {
    await tools.withAccount(name, (wire) => wire.revoke(leaf, reason, signal));
  } catch (error) {
    const type = problemType(error);
    if (type === "alreadyRevoked") return;
    if (type !== "unauthorized" && type !== "malformed") throw error;
    try {
      await tools.connect(keyPem).revoke(leaf, reason, signal);
    } catch (second) {
      if (problemType(second) === "alreadyRevoked") return;
      throw second;
    }
  }
}
