/**
 * Whom do we believe to be the CA?
 * Owns: the roots for a CA's own HTTPS.
 * Never: connects.
 */
import { type SecureContext, createSecureContext, getCACertificates } from "node:tls";
import { errorText, GatehouseError } from "../../core/errors.ts";

/** Built once for a wire: parsing some 150 roots takes tens of milliseconds. */
export function trusting(roots: string | undefined): SecureContext | undefined {
  if (roots === undefined) return undefined;
  try {
    return createSecureContext({ ca: [...getCACertificates("default"), roots] });
  } catch (cause) {
    throw new GatehouseError("GATEHOUSE_CONFIG_INVALID", {
      message: `acme.caRoots is not a PEM certificate: ${errorText(cause)}.`,
      hint: "Give the file that begins with -----BEGIN CERTIFICATE-----.",
      cause,
    });
  }
}
