/**
 * Which protocol versions, suites and groups do we speak?
 * Owns: the answer, for the listener and for every certificate behind it, so that the two cannot differ.
 * Never: holds a key.
 *
 * Mozilla guidelines 6.0 "intermediate" (April 2026). The listener's own context settles version and suites, the one
 * that SNI chooses settles certificate and groups: both are made from this.
 */
import { constants } from "node:crypto";

const TLS13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/** Six, all ephemeral and authenticated. ECDSA is what we serve; RSA is for imported certificates. DHE has gone in 6.0. */
const TLS12 = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
];

const GROUPS = ["X25519", "prime256v1", "secp384r1"];

/** OpenSSL has the post-quantum group since 3.5; an older one (Node 22) refuses the whole list over a name it lacks. */
function groupsFor(openssl: string): string[] {
  const [major = 0, minor = 0] = openssl.split(".").map(Number);
  return major > 3 || (major === 3 && minor >= 5) ? ["X25519MLKEM768", ...GROUPS] : GROUPS;
}

export const tlsSettings = Object.freeze({
  minVersion: "TLSv1.2",
  maxVersion: "TLSv1.3",
  ciphers: [...TLS13, ...TLS12].join(":"),
  ecdhCurve: groupsFor(process.versions.openssl).join(":"),
  /** A telephone without AES in hardware knows best what it computes quickly. */
  honorCipherOrder: false,
  /** Seconds. A day: as long as a ticket key may live (RFC 8446 §4.6.1 allows seven). */
  sessionTimeout: 86_400,
  /** Node's own limit of three renegotiations in ten minutes still looks open to scanners. */
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
} as const);
