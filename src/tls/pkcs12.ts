/**
 * What is in a PKCS#12 file (.p12, .pfx), and how is one written that devices take?
 * Owns: node-forge, which is used here and nowhere else: reading and writing RFC 7292.
 * Never: judges a certificate, or reads a file that a stranger chose: a person brings these.
 *
 * node-forge knows no elliptic keys. So its readers of keys and certificates are not asked: what lies in the bags is
 * taken as bytes and read by node:crypto, and the file is put together bag by bag.
 */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import forge from "node-forge";
import { errorText, GatehouseError } from "../core/errors.ts";
import { pemCertificates } from "./pem.ts";

const { asn1, pki } = forge;

/**
 * `compatible` is three-key DES with SHA-1, which every iPhone, Android, Windows and browser reads. `modern` is AES-256
 * with SHA-256 (RFC 8018), which iOS before 18 and older Androids take for a wrong password.
 */
export type Pkcs12Format = "compatible" | "modern";

/** Rounds of key derivation. Telephones take a blink for these; the strength is in the password, which is random. */
const ROUNDS = 4_096;
const SALT_BYTES = 16;

export interface Pkcs12Content {
  /** PKCS#8 PEM; undefined when the file has certificates alone. */
  keyPem: string | undefined;
  /** In the order of the file. */
  certificates: X509Certificate[];
}

/** @throws GATEHOUSE_IMPORT_PASSWORD, GATEHOUSE_IMPORT_UNREADABLE */
export function readPkcs12(bytes: Uint8Array, password: string): Pkcs12Content {
  const pfx = opened(bytes, password);
  const bags = pfx.safeContents.flatMap(({ safeBags }) => safeBags);
  const keys = bags.filter(({ type }) => type === pki.oids["keyBag"] || type === pki.oids["pkcs8ShroudedKeyBag"]);
  const [first, second] = keys;
  if (second !== undefined) {
    throw new GatehouseError("GATEHOUSE_IMPORT_UNREADABLE", {
      message: `The file holds ${keys.length} keys, and it is not clear which is meant.`,
      hint: "Export the one identity that you mean into a file of its own.",
    });
  }
  try {
    return {
      keyPem: first && keyPemOf(first),
      certificates: bags
        .filter(({ type }) => type === pki.oids["certBag"])
        .map((bag) => new X509Certificate(derOf(bag.cert ? pki.certificateToAsn1(bag.cert) : bag.asn1))),
    };
  } catch (cause) {
    throw unreadable(cause);
  }
}

function opened(bytes: Uint8Array, password: string): forge.pkcs12.Pkcs12Pfx {
  // BER is common (Windows, Java), so not strict.
  const parse = (): Tree => asn1.fromDer(forge.util.createBuffer(Buffer.from(bytes).toString("binary")), false);
  try {
    return forge.pkcs12.pkcs12FromAsn1(parse(), false, password);
  } catch (first) {
    try {
      // The MAC came out, so the password is right; but where RFC 8018 wants UTF-8, node-forge gives it something else.
      if (!errorText(first).startsWith("Failed to decrypt")) throw first;
      const tree = parse();
      (tree.value as Tree[]).length = 2; // without the MAC, which was checked
      return forge.pkcs12.pkcs12FromAsn1(tree, false, forge.util.encodeUtf8(password));
    } catch {
      throw unreadable(first);
    }
  }
}

function keyPemOf({ key, asn1: tree }: forge.pkcs12.Bag): string {
  // Of a kind that node-forge knows (RSA) it keeps no bytes.
  const wrapped = key ? pki.wrapRsaPrivateKey(pki.privateKeyToAsn1(key)) : tree;
  const made = createPrivateKey({ key: derOf(wrapped), format: "der", type: "pkcs8" });
  return made.export({ type: "pkcs8", format: "pem" }).toString();
}

const derOf = (tree: forge.asn1.Asn1): Buffer => Buffer.from(asn1.toDer(tree).getBytes(), "binary");

function unreadable(cause: unknown): GatehouseError {
  const text = errorText(cause);
  // One MAC over everything: with another password it does not come out (RFC 7292 §5.1).
  const isPassword = /MAC could not be verified|Invalid password|decrypt/i.test(text);
  return isPassword
    ? new GatehouseError("GATEHOUSE_IMPORT_PASSWORD", {
        message: "The password does not open this file.",
        hint: "Give the one it was made with by --password-file; for one without a password leave it out.",
        cause,
      })
    : new GatehouseError("GATEHOUSE_IMPORT_UNREADABLE", {
        message: `The file cannot be read as PKCS#12: ${text.slice(0, 200)}`,
        hint: "openssl pkcs12 -in FILE -info tells what it is. PEM works, too.",
        cause,
      });
}

/**
 * @param chainPem  leaf first
 * @param label     what a telephone shows in its list
 */
export function writePkcs12(wanted: {
  keyPem: string;
  chainPem: string;
  password: string;
  label: string;
  format: Pkcs12Format;
}): Buffer {
  const { password, format } = wanted;
  const [leaf, ...others] = pemCertificates(wanted.chainPem);
  if (leaf === undefined) throw new TypeError("a PKCS#12 file needs a certificate");
  const key = createPrivateKey(wanted.keyPem).export({ type: "pkcs8", format: "der" });
  const attributes = attributesFor(wanted.label, createHash("sha1").update(leaf.raw).digest());
  const keyBag = bagOf("pkcs8ShroudedKeyBag", encrypted(treeOf(key), password, format), attributes);
  const certificateBags = [leaf, ...others].map((one, at) =>
    bagOf("certBag", certificateIn(one), at === 0 ? attributes : undefined),
  );
  const safe = sequence(
    contentInfo("encryptedData", encryptedData(sequence(...certificateBags), password, format)),
    contentInfo("data", octets(asn1.toDer(sequence(keyBag)).getBytes())),
  );
  const content = asn1.toDer(safe).getBytes();
  const whole = sequence(integer(3), contentInfo("data", octets(content)), macOf(content, password, format));
  return derOf(whole);
}

type Tree = forge.asn1.Asn1;
const { Class, Type } = asn1;
const make = (type: forge.asn1.Type, isBuilt: boolean, value: string | Tree[]): Tree =>
  asn1.create(Class.UNIVERSAL, type, isBuilt, value);
const sequence = (...value: Tree[]): Tree => make(Type.SEQUENCE, true, value);
const octets = (value: string): Tree => make(Type.OCTETSTRING, false, value);
const integer = (value: number): Tree => make(Type.INTEGER, false, asn1.integerToDer(value).getBytes());
const oid = (name: string): Tree => make(Type.OID, false, asn1.oidToDer(pki.oids[name] ?? "").getBytes());
/** `[0]` of RFC 7292 and 5652. node-forge wants a name of its own list for every number. */
const FIRST: forge.asn1.Type = Type.NONE;
const explicit = (...value: Tree[]): Tree => asn1.create(Class.CONTEXT_SPECIFIC, FIRST, true, value);
const treeOf = (der: Buffer): Tree => asn1.fromDer(forge.util.createBuffer(der.toString("binary")));

/** RFC 7292 §4.2: the two that tie a key to its certificate, and give both a name. */
function attributesFor(label: string, keyId: Buffer): Tree {
  const attribute = (name: string, value: Tree): Tree => sequence(oid(name), make(Type.SET, true, [value]));
  return make(Type.SET, true, [
    attribute("friendlyName", make(Type.BMPSTRING, false, label)),
    attribute("localKeyId", octets(keyId.toString("binary"))),
  ]);
}

const bagOf = (kind: string, value: Tree, attributes: Tree | undefined): Tree =>
  sequence(oid(kind), explicit(value), ...(attributes === undefined ? [] : [attributes]));

const certificateIn = ({ raw }: X509Certificate): Tree =>
  sequence(oid("x509Certificate"), explicit(octets(raw.toString("binary"))));

const contentInfo = (kind: string, value: Tree): Tree => sequence(oid(kind), explicit(value));

/** An algorithm and what came of it. node-forge does not look at what it encrypts: a key or a list of certificates. */
const encrypted = (value: Tree, password: string, format: Pkcs12Format): Tree =>
  pki.encryptPrivateKeyInfo(
    value,
    // RFC 7292 §B.1 makes UTF-16 of it by itself; RFC 8018 takes bytes, and everybody means UTF-8.
    format === "modern" ? forge.util.encodeUtf8(password) : password,
    format === "modern"
      ? { algorithm: "aes256", prfAlgorithm: "sha256", count: ROUNDS, saltSize: SALT_BYTES }
      : { algorithm: "3des", count: ROUNDS, saltSize: SALT_BYTES },
  );

/** RFC 5652 §8: certificates are public, but readers exist that want all of it under the password. */
function encryptedData(value: Tree, password: string, format: Pkcs12Format): Tree {
  const [algorithm, result] = encrypted(value, password, format).value as [Tree, Tree];
  const content = asn1.create(Class.CONTEXT_SPECIFIC, FIRST, false, result.value);
  return sequence(integer(0), sequence(oid("data"), algorithm, content));
}

/** RFC 7292 §4 and appendix B. */
function macOf(content: string, password: string, format: Pkcs12Format): Tree {
  const digest = format === "modern" ? "sha256" : "sha1";
  const bytes = format === "modern" ? 32 : 20;
  const salt = forge.random.getBytesSync(SALT_BYTES);
  const md = forge.md[digest].create();
  const key = forge.pkcs12.generateKey(password, forge.util.createBuffer(salt), 3, ROUNDS, bytes, md);
  const mac = forge.hmac.create();
  mac.start(digest, key);
  mac.update(content);
  const algorithm = sequence(oid(digest), make(Type.NULL, false, ""));
  return sequence(sequence(algorithm, octets(mac.getMac().getBytes())), octets(salt), integer(ROUNDS));
}
