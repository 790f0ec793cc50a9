/**
 * Which telephones and laptops belong to this house?
 * Owns: the root that signs for them, the certificates it has signed, and the list of those that are accepted today.
 * Never: meets a client (the front does), or keeps a private key of a device: it goes into the .p12 and is forgotten.
 *
 * The list is what counts, by fingerprint: a certificate that is not in it is nobody's, whoever signed it. A list of the
 * revoked ones lost: when that file is damaged or comes from an old backup, whoever was sent away is in again.
 *
 * The root is another one than that of `acme.ca: local`: devices trust that one for sites, and a key that signs sites has
 * no business signing people in.
 */
import { createHash, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { GatehouseError } from "../core/errors.ts";
import { type Clock, systemClock } from "../core/time.ts";
import type { Storage } from "../storage/contract.ts";
import { certificatePem, makeCertificate, newKeyPair, privateKeyPem } from "./certificate-maker.ts";
import { openOwnRoot, type OwnRoot } from "./own-root.ts";
import { type Pkcs12Format, writePkcs12 } from "./pkcs12.ts";

const FOLDER = "ca/clients";
const LIST = `${FOLDER}/list.json`;
/** The root's own lock has the folder's name. */
const LIST_LOCK = `${FOLDER}-list`;
const LOCK_WITHIN_MS = 45_000;

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** As long as the root itself. */
export const MAX_DAYS = 3_650;
const FRESH_FOR_MS = 365 * DAY_MS;
/** The list goes to every worker, and each request looks into it; a house has dozens. */
const MAX_ACCEPTED = 1_000;
/** Of those that are over, for people who look. */
const MAX_REMEMBERED = 200;
/** It stands in a header, in file names and in the lists of telephones (ub-common-name of RFC 5280 is 64). */
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9])?$/;

export interface ClientRecord {
  name: string;
  /** Hex, upper case. */
  serial: string;
  /** Of the DER, hex, lower case. */
  sha256: string;
  notAfter: number; // ms since 1970
  issuedAt: number; // ms since 1970
  revokedAt?: number | undefined;
}

export interface ClientCa {
  rootPem(): string;
  /** Newest first, those that are over included. */
  list(): Promise<readonly ClientRecord[]>;
  /**
   * @param days  1 to 3650
   * @returns the PKCS#12 file with key and certificate
   * @throws GATEHOUSE_REQUEST_REFUSED for a name that cannot be taken, GATEHOUSE_STORAGE_FAILED
   */
  add(wanted: {
    name: string;
    days: number;
    password: string;
    format: Pkcs12Format;
  }): Promise<{ record: ClientRecord; p12: Buffer }>;
  /** All that are accepted under this name. @throws GATEHOUSE_REQUEST_REFUSED when there is none */
  revoke(name: string): Promise<readonly ClientRecord[]>;
}

/** @throws GATEHOUSE_STORAGE_FAILED, GATEHOUSE_LOCK_TIMEOUT */
export async function openClientCa({
  storage,
  clock = systemClock,
}: {
  storage: Storage;
  clock?: Clock;
}): Promise<ClientCa> {
  const root = await openOwnRoot({
    storage,
    clock,
    folder: FOLDER,
    purpose: x509.ExtendedKeyUsage.clientAuth,
    label: "Gatehouse clients",
    freshForMs: FRESH_FOR_MS,
  });

  /** Two commands at once must not lose each other's line. */
  async function change<T>(act: (records: ClientRecord[]) => Promise<T>): Promise<T> {
    const lock = await storage.lock(LIST_LOCK, { withinMs: LOCK_WITHIN_MS });
    try {
      const records = await readClients(storage);
      const result = await act(records);
      const now = clock.now();
      const over = records.filter((one) => !isAccepted(one, now)).slice(0, MAX_REMEMBERED);
      const kept = records.filter((one) => isAccepted(one, now) || over.includes(one));
      await storage.write(LIST, `${JSON.stringify({ version: 1, clients: kept }, null, 2)}\n`);
      return result;
    } finally {
      await lock.release();
    }
  }

  return {
    rootPem: () => root.current().pem,
    list: () => readClients(storage),
    add: ({ name, days, password, format }) =>
      change(async (records) => {
        assertName(name);
        const now = clock.now();
        const accepted = records.filter((one) => isAccepted(one, now));
        if (accepted.some((one) => one.name === name)) {
          throw refused(
            `There is a certificate for ${name} already.`,
            `gatehouse client-cert revoke "${name}" ends it; or take another name for the second device.`,
          );
        }
        if (accepted.length >= MAX_ACCEPTED) {
          throw refused(`There are ${MAX_ACCEPTED} client certificates already.`, "Revoke those that nobody uses.");
        }
        const { keyPem, chainPem } = await issue(root, name, days, now);
        const leaf = new X509Certificate(chainPem);
        const record: ClientRecord = {
          name,
          serial: leaf.serialNumber,
          sha256: createHash("sha256").update(leaf.raw).digest("hex"),
          notAfter: leaf.validToDate.getTime(),
          issuedAt: now,
        };
        const p12 = writePkcs12({ keyPem, chainPem, password, label: name, format });
        records.unshift(record);
        return { record, p12 };
      }),
    revoke: (name) =>
      change(async (records) => {
        const now = clock.now();
        const ended = records.filter((one) => one.name === name && isAccepted(one, now));
        if (ended.length === 0) {
          throw refused(
            `No client certificate in force is named ${name}.`,
            "gatehouse client-cert ls shows which there are.",
          );
        }
        for (const one of ended) one.revokedAt = now;
        return ended;
      }),
  };
}

export const isAccepted = ({ notAfter, revokedAt }: ClientRecord, now: number): boolean =>
  revokedAt === undefined && notAfter > now;

/**
 * Newest first; none when no certificate was ever made.
 *
 * @throws GATEHOUSE_STORAGE_FAILED also when the list is damaged: then nobody is accepted, rather than everybody
 */
async function readClients(storage: Storage): Promise<ClientRecord[]> {
  const bytes = await storage.read(LIST);
  if (bytes === undefined) return [];
  try {
    const { clients } = JSON.parse(bytes.toString("utf8")) as { clients: ClientRecord[] };
    if (clients.every((one) => /^[0-9a-f]{64}$/.test(one.sha256) && NAME.test(one.name) && one.notAfter > 0)) {
      return clients;
    }
  } catch {
    // said below
  }
  throw new GatehouseError("GATEHOUSE_STORAGE_FAILED", {
    message: `The list of client certificates (${LIST}) is damaged: no device is accepted.`,
    hint: "Bring it back from a backup, or remove it and make the certificates anew.",
  });
}

async function issue(
  root: OwnRoot,
  name: string,
  days: number,
  now: number,
): Promise<{ keyPem: string; chainPem: string }> {
  const signer = await root.fresh();
  const keys = await newKeyPair();
  const certificate = await makeCertificate({
    subject: name,
    issuer: signer.certificate.subjectName,
    notBefore: now - HOUR_MS,
    notAfter: Math.min(now + days * DAY_MS, signer.certificate.notAfter.getTime()),
    publicKey: keys.publicKey,
    signingKey: signer.keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(signer.keys.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  // The root stays here: the server has it, and a telephone would ask its owner to trust it.
  return { keyPem: privateKeyPem(keys.privateKey), chainPem: certificatePem(certificate) };
}

function assertName(name: string): void {
  if (NAME.test(name)) return;
  throw refused(
    "That cannot be the name of a client certificate.",
    "Up to 64 of A-Z a-z 0-9 . _ @ - and spaces between, such as anna-phone: it stands in a header.",
  );
}

const refused = (message: string, hint: string): GatehouseError =>
  new GatehouseError("GATEHOUSE_REQUEST_REFUSED", { message, hint });
