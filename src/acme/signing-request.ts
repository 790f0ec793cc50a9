/**
 * What do we ask the CA to sign?
 * Owns: new keys of each type and the signing request (PKCS#10) with the names and nothing else.
 * Never: keeps a key.
 *
 * acme-client could make the request, too, but adds key usages, and keyEncipherment means nothing on an ECDSA key. The
 * subject stays empty: a Common Name is ignored or refused by the newer profiles, and the names are what counts.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import { promisify } from "node:util";
import { Pkcs10CertificateRequestGenerator, SubjectAlternativeNameExtension } from "@peculiar/x509";

export const KEY_TYPES = ["p256", "p384", "rsa2048", "rsa4096"] as const;
export type KeyType = (typeof KEY_TYPES)[number];

const generate = promisify(generateKeyPair);

const CURVES: Readonly<Record<string, { import: webcrypto.EcKeyImportParams; sign: webcrypto.EcdsaParams }>> = {
  prime256v1: { import: { name: "ECDSA", namedCurve: "P-256" }, sign: { name: "ECDSA", hash: "SHA-256" } },
  secp384r1: { import: { name: "ECDSA", namedCurve: "P-384" }, sign: { name: "ECDSA", hash: "SHA-384" } },
};
const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } as const;

/** PKCS#8 PEM; made in libuv's pool, not on the loop that serves (RSA of 4096 bits takes seconds on a small machine). */
export async function generateKeyPem(type: KeyType = "p256"): Promise<string> {
  const { privateKey } = await newKey(type);
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

function newKey(type: KeyType) {
  if (type === "p256") return generate("ec", { namedCurve: "prime256v1" });
  if (type === "p384") return generate("ec", { namedCurve: "secp384r1" });
  return generate("rsa", { modulusLength: type === "rsa2048" ? 2048 : 4096 });
}

/**
 * @param names  DNS names and addresses
 * @returns PEM
 */
export async function createSigningRequest(names: readonly string[], keyPem: string): Promise<string> {
  const { subtle } = webcrypto;
  const key = createPrivateKey(keyPem);
  const curve = CURVES[key.asymmetricKeyDetails?.namedCurve ?? ""];
  const algorithm = curve?.import ?? RSA;
  const keys = {
    privateKey: await subtle.importKey("pkcs8", key.export({ type: "pkcs8", format: "der" }), algorithm, false, [
      "sign",
    ]),
    publicKey: await subtle.importKey(
      "spki",
      createPublicKey(key).export({ type: "spki", format: "der" }),
      algorithm,
      true,
      ["verify"],
    ),
  };
  const entries = names.map((value) => ({ type: isIP(value) === 0 ? ("dns" as const) : ("ip" as const), value }));
  const request = await Pkcs10CertificateRequestGenerator.create(
    {
      keys,
      signingAlgorithm: curve?.sign ?? RSA,
      extensions: [new SubjectAlternativeNameExtension(entries)],
    },
    webcrypto,
  );
  return request.toString("pem");
}
