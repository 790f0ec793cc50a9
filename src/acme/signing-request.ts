/**
 * What do we ask the CA to sign?
 * Owns: new P-256 keys and the signing request (PKCS#10) with the names and nothing else.
 * Never: keeps a key.
 *
 * acme-client could make the request, too, but adds key usages, and keyEncipherment means nothing on an ECDSA key. The
 * subject stays empty: a Common Name is ignored or refused by the newer profiles, and the names are what counts.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, webcrypto } from "node:crypto";
import { promisify } from "node:util";
import { Pkcs10CertificateRequestGenerator, SubjectAlternativeNameExtension } from "@peculiar/x509";

const P256 = { name: "ECDSA", namedCurve: "P-256" } as const;
const generate = promisify(generateKeyPair);

/** PKCS#8 PEM; made in libuv's pool, not on the loop that serves. */
export async function generateKeyPem(): Promise<string> {
  const { privateKey } = await generate("ec", { namedCurve: P256.namedCurve });
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** @returns PEM */
export async function createSigningRequest(names: readonly string[], keyPem: string): Promise<string> {
  const { subtle } = webcrypto;
  const key = createPrivateKey(keyPem);
  const pkcs8 = key.export({ type: "pkcs8", format: "der" });
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  const keys = {
    privateKey: await subtle.importKey("pkcs8", pkcs8, P256, false, ["sign"]),
    publicKey: await subtle.importKey("spki", spki, P256, true, ["verify"]),
  };
  const request = await Pkcs10CertificateRequestGenerator.create(
    {
      keys,
      signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
      extensions: [new SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns", value })))],
    },
    webcrypto,
  );
  return request.toString("pem");
}
