/**
 * Do these keys and certificates, found in whatever order, make one that can be served?
 * Owns: finding the key, the leaf that belongs to it and the chain above it; saying what is wrong or missing.
 * Never: reads a file or stores.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import { errorText, GatehouseError } from "../core/errors.ts";
import { namesIn } from "../storage/check-bundle.ts";
import { pemCertificates, pemOf } from "./pem.ts";

export interface Pair {
  /** PKCS#8 PEM. */
  keyPem: string;
  /** Leaf first, without the root. */
  chainPem: string;
  /** Names in the leaf, lower case; addresses included. */
  names: string[];
}

/** RFC 7468 §10 and §11, and the older kinds that OpenSSL still writes. */
const PRIVATE_KEY =
  /-----BEGIN (?:(?:RSA|EC|ENCRYPTED) )?PRIVATE KEY-----[^-]+-----END (?:(?:RSA|EC|ENCRYPTED) )?PRIVATE KEY-----/g;
/** Longer than any chain that a CA sends. */
const MAX_CHAIN = 10;

/**
 * @param texts     PEM files, in any order: key and certificates may stand in one or in several
 * @param password  for a key that is encrypted
 * @param isAlone   take a leaf without its chain, too
 * @throws GATEHOUSE_IMPORT_UNREADABLE, GATEHOUSE_IMPORT_PASSWORD, GATEHOUSE_IMPORT_KEY, GATEHOUSE_IMPORT_CHAIN
 */
export function pairFromPem(
  texts: readonly string[],
  { password, isAlone }: { password?: string | undefined; isAlone: boolean },
): Pair {
  const all = texts.join("\n");
  const keys = all.match(PRIVATE_KEY) ?? [];
  let certificates: X509Certificate[];
  try {
    certificates = pemCertificates(all);
  } catch (cause) {
    throw new GatehouseError("GATEHOUSE_IMPORT_UNREADABLE", {
      message: `A certificate in it cannot be read: ${errorText(cause)}`,
      hint: "The file may be cut short; bring it again from where it was made.",
      cause,
    });
  }
  if (keys.length > 1) throw wrongKey(`There are ${keys.length} private keys, and it is not clear which is meant.`);
  return pairOf(keys[0] === undefined ? undefined : readKey(keys[0], password), certificates, isAlone);
}

/** @throws as `pairFromPem` */
export function pairOf(key: KeyObject | undefined, found: readonly X509Certificate[], isAlone: boolean): Pair {
  if (found.length === 0) {
    throw new GatehouseError("GATEHOUSE_IMPORT_UNREADABLE", {
      message: "There is no certificate in it.",
      hint: "A PEM file has -----BEGIN CERTIFICATE----- lines; a PKCS#12 file ends in .p12 or .pfx.",
    });
  }
  if (key === undefined) throw wrongKey("There is no private key in it.");
  const leaf = found.find((one) => one.checkPrivateKey(key));
  if (leaf === undefined) throw wrongKey("The private key is not the key of any certificate in it.");
  const chain = chainFrom(leaf, found);
  if (chain.length === 1 && !isAlone && !isSelfIssued(leaf) && !isPublicRoot(leaf)) {
    throw new GatehouseError("GATEHOUSE_IMPORT_CHAIN", {
      message: `The chain is missing: who signed this certificate (${issuerOf(leaf)}) is not in it, and is no root that clients know.`,
      hint: "Bring the file with the whole chain (fullchain.pem), or name the missing part with --chain FILE. --alone takes it as it is, for clients that know the issuer.",
    });
  }
  return {
    keyPem: key.export({ type: "pkcs8", format: "pem" }).toString(),
    chainPem: pemOf(chain),
    names: namesIn(leaf),
  };
}

/** @throws GATEHOUSE_IMPORT_PASSWORD, GATEHOUSE_IMPORT_UNREADABLE */
function readKey(pem: string, password: string | undefined): KeyObject {
  try {
    return createPrivateKey({ key: pem, ...(password !== undefined && { passphrase: password }) });
  } catch (cause) {
    if (pem.includes("ENCRYPTED")) {
      throw new GatehouseError("GATEHOUSE_IMPORT_PASSWORD", {
        message:
          password === undefined
            ? "The private key is encrypted, and no password was given."
            : "The password does not open the private key.",
        hint: "Give it by --password-file FILE; - reads it from standard input.",
        cause,
      });
    }
    throw new GatehouseError("GATEHOUSE_IMPORT_UNREADABLE", {
      message: `The private key cannot be read: ${errorText(cause)}`,
      hint: "openssl pkey -in FILE -noout tells whether OpenSSL can.",
      cause,
    });
  }
}

/** From the leaf upwards, each signed by the next. A root at the end is left out: clients have it or do not trust it. */
function chainFrom(leaf: X509Certificate, found: readonly X509Certificate[]): X509Certificate[] {
  const chain = [leaf];
  for (let last = leaf; chain.length < MAX_CHAIN && !isSelfIssued(last);) {
    const next = found.find((one) => !chain.includes(one) && isSignedBy(last, one));
    if (next === undefined || isSelfIssued(next)) break;
    chain.push(next);
    last = next;
  }
  return chain;
}

const isSignedBy = (one: X509Certificate, by: X509Certificate): boolean =>
  one.checkIssued(by) && one.verify(by.publicKey);

const isSelfIssued = (one: X509Certificate): boolean => one.subject === one.issuer;

/** Some private CAs of companies sign with their root; that of the browsers' list do not, but a few did. */
function isPublicRoot(leaf: X509Certificate): boolean {
  return rootCertificates.some((pem) => {
    const root = new X509Certificate(pem);
    return root.subject === leaf.issuer && isSignedBy(leaf, root);
  });
}

const issuerOf = ({ issuer }: X509Certificate): string => issuer.replaceAll("\n", ", ").slice(0, 200);

function wrongKey(message: string): GatehouseError {
  return new GatehouseError("GATEHOUSE_IMPORT_KEY", {
    message,
    hint: "Bring certificate and key of one order together; --key FILE names the key when it lies in a file of its own.",
  });
}
