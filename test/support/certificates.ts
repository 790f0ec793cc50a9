/**
 * A throw-away CA for tests: ECDSA P-256, in memory, its leaves valid for whatever names and dates a case wants.
 */
import { KeyObject, X509Certificate, randomBytes, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";
import type { CertificateBundle } from "../../src/storage/bundles.ts";

export interface IssueOptions {
  /** DNS names or bare addresses. The first one is the subject, too. */
  names: readonly string[];
  /** Life of the leaf from `notBefore` on. Default 90. */
  days?: number;
  /** Default: one hour ago. */
  notBefore?: Date;
  /** The leaf says where the certificate of its issuer is, as those of public CAs do. */
  issuerUrl?: string;
  /** Of the leaf. Default: new ones, ECDSA P-256. */
  keys?: webcrypto.CryptoKeyPair;
}

export interface Issued {
  names: readonly string[];
  /** PKCS#8 PEM. */
  keyPem: string;
  /** Leaf, then the intermediate when the CA has one. */
  chainPem: string;
  /** The same as `chainPem`. */
  certificatePem: string;
  /** The root alone: what a client has to trust. */
  caPem: string;
}

export interface TestCa {
  /** The root certificate. */
  caPem: string;
  issue(options: IssueOptions): Promise<Issued>;
  /** A leaf in the shape that the bundle store keeps; stored under the first name. */
  issueBundle(options: IssueOptions): Promise<CertificateBundle>;
}

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;

interface Signer {
  certificate: x509.X509Certificate;
  key: webcrypto.CryptoKey;
}

/** A serial of 15 random bytes: never negative, never with a leading zero. */
const serial = (): string => `01${randomBytes(15).toString("hex")}`;

const newKeys = (): Promise<webcrypto.CryptoKeyPair> => webcrypto.subtle.generateKey(P256, true, ["sign", "verify"]);

function pemOf(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: "pkcs8", format: "pem" }).toString();
}

async function signer(name: string, issuer: Signer | undefined): Promise<Signer> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${name}`,
    issuer: issuer?.certificate.subject ?? `CN=${name}`,
    notBefore: new Date(Date.now() - 30 * DAY_MS),
    notAfter: new Date(Date.now() + 3650 * DAY_MS),
    publicKey: keys.publicKey,
    signingKey: issuer?.key ?? keys.privateKey,
    signingAlgorithm: P256,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.AuthorityKeyIdentifierExtension.create(issuer?.certificate.publicKey ?? keys.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, key: keys.privateKey };
}

/** @param options.intermediate sign leaves with an intermediate, which then follows in `chainPem`. Default false. */
export async function makeCa(options: { name?: string; intermediate?: boolean } = {}): Promise<TestCa> {
  const name = options.name ?? `Test CA ${randomBytes(4).toString("hex")}`;
  const root = await signer(name, undefined);
  const middle = options.intermediate === true ? await signer(`${name} intermediate`, root) : undefined;
  const issuer = middle ?? root;
  const caPem = `${root.certificate.toString("pem")}\n`;

  const issue = async (wanted: IssueOptions) => {
    const { names, days = 90, notBefore = new Date(Date.now() - 3_600_000), issuerUrl } = wanted;
    const keys = wanted.keys ?? (await newKeys());
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject: `CN=${names[0]}`,
      issuer: issuer.certificate.subject,
      notBefore,
      notAfter: new Date(notBefore.getTime() + days * DAY_MS),
      publicKey: keys.publicKey,
      signingKey: issuer.key,
      signingAlgorithm: P256,
      extensions: [
        new x509.SubjectAlternativeNameExtension(
          names.map((value) => ({ type: isIP(value) === 0 ? ("dns" as const) : ("ip" as const), value })),
        ),
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        await x509.AuthorityKeyIdentifierExtension.create(issuer.certificate.publicKey),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
        ...(issuerUrl === undefined ? [] : [new x509.AuthorityInfoAccessExtension({ caIssuers: [issuerUrl] })]),
      ],
    });
    const chain = middle === undefined ? [leaf] : [leaf, middle.certificate];
    const chainPem = chain.map((certificate) => `${certificate.toString("pem")}\n`).join("");
    return { names, keyPem: pemOf(keys.privateKey), chainPem, certificatePem: chainPem, caPem };
  };

  const issueBundle = async (wanted: IssueOptions): Promise<CertificateBundle> => {
    const { keyPem, chainPem } = await issue(wanted);
    const leaf = new X509Certificate(chainPem);
    return {
      name: wanted.names[0] ?? "",
      names: wanted.names,
      keyPem,
      chainPem,
      notBefore: Date.parse(leaf.validFrom),
      notAfter: Date.parse(leaf.validTo),
      issuer: middle === undefined ? name : `${name} intermediate`,
      serial: leaf.serialNumber,
      ca: "test",
      issuedAt: Date.now(),
    };
  };

  return { caPem, issue, issueBundle };
}
