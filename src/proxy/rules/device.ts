/**
 * Which device of the house is this, and what is the target told of it?
 * Owns: the header that carries a client certificate's owner.
 * Never: reads a certificate (the front does), or knows which ones are accepted.
 */
import type { SiteConfig } from "../../config/model.ts";
import type { RequestHead } from "./request-head.ts";

/** What a client showed in the handshake of its connection, and proved to have the key of. */
export interface Device {
  /** Of its certificate, hex, lower case. */
  sha256: string;
  /** Its name as of now; undefined when the certificate is none of ours, or no longer: asked for every request. */
  owner(): string | undefined;
}

/**
 * Flat name, value list, in Envoy's form (`X-Forwarded-Client-Cert`), which targets know. Of the x-forwarded- family, so
 * what a client writes there itself never passes, in no lane and on no site. Empty where the site does not ask.
 */
export function deviceFields({ device }: Pick<RequestHead, "device">, site: SiteConfig): string[] {
  const owner = site.clientCert === undefined ? undefined : device?.owner();
  // The name's grammar (tls/client-ca) has neither quotes nor semicolons.
  return owner === undefined ? [] : ["x-forwarded-client-cert", `Hash=${device?.sha256};Subject="CN=${owner}"`];
}
