/**
 * `gatehouse client-cert`: certificates for the telephones and laptops of the house.
 * Owns: the password, the file, the words and the JSON.
 * Never: sees a private key: what comes is sealed already.
 */
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import type { AdminClient, DeviceReport } from "../admin/client.ts";
import { GatehouseError } from "../core/errors.ts";
import { EXIT } from "./exit-codes.ts";
import { assertAbsent, readPassword, writeSecretFile } from "./secret-files.ts";
import { type Cell, table } from "./table.ts";
import { harmless, isoTime, printJson, type Terminal } from "./terminal.ts";

/** Without l, o, 0 and 1, which are taken for each other: it is typed into a telephone. 32 of them, so five bits each. */
const LETTERS = "abcdefghijkmnpqrstuvwxyz23456789";
const GROUPS = 4;
const GROUP_LETTERS = 5;

export async function addClientCert(
  client: AdminClient,
  wanted: {
    name: string;
    out: string | undefined;
    days: string | undefined;
    passwordFile: string | undefined;
    isModern: boolean;
    json: boolean;
  },
  terminal: Terminal,
): Promise<number> {
  const { name, isModern, json } = wanted;
  const file = resolve(wanted.out ?? `${name.replaceAll(/[^A-Za-z0-9._@-]+/g, "-")}.p12`);
  // Before there is a certificate that nobody can be given.
  await assertAbsent(file);
  const own = wanted.passwordFile === undefined ? undefined : await readPassword(wanted.passwordFile);
  if (own === "") {
    throw new GatehouseError("GATEHOUSE_SECRET_UNREADABLE", {
      message: "The password file is empty.",
      hint: "Write a password into its first line, or leave --password-file out to have one made.",
    });
  }
  const password = own ?? newPassword();
  const days = wanted.days === undefined ? DEFAULT_DAYS : Number(wanted.days);
  const { p12, ...made } = await client.addDevice({ name, days, password, isModern });
  await writeSecretFile(file, Buffer.from(p12, "base64"));
  if (json) {
    printJson(terminal, { ...asJson(made), file, ...(own === undefined && { password }) });
    return EXIT.ok;
  }
  const { out, err } = terminal;
  out.write(harmless(`${name}: ${file}, valid until ${isoTime(made.notAfter)}\n`));
  if (own === undefined) out.write(`password: ${password}\n`);
  err.write(
    "Send the file to the device and open it there; it asks for the password. Then delete the file.\n" +
      "Sites ask for it with clientCert: required.\n",
  );
  return EXIT.ok;
}

/** Two years; a telephone is replaced by then. */
const DEFAULT_DAYS = 730;

/** 100 random bits. */
function newPassword(): string {
  const letters = [...randomBytes(GROUPS * GROUP_LETTERS)].map((byte) => LETTERS[byte & 31] ?? "");
  const groups = Array.from({ length: GROUPS }, (_, at) =>
    letters.slice(at * GROUP_LETTERS, (at + 1) * GROUP_LETTERS).join(""),
  );
  return groups.join("-");
}

export async function listClientCerts(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  const devices = await client.devices();
  if (json) {
    printJson(terminal, { clientCertificates: devices.map(asJson) });
    return EXIT.ok;
  }
  if (devices.length === 0) {
    terminal.err.write("no client certificates: gatehouse client-cert add NAME makes one\n");
    return EXIT.ok;
  }
  const rows = devices.map((one): Cell[] => [
    one.name,
    stateOf(one),
    day(one.issuedAt),
    day(one.notAfter),
    one.sha256.slice(0, 16),
  ]);
  terminal.out.write(table(terminal.out, ["NAME", "STATE", "MADE", "EXPIRES", "SHA-256"], rows));
  return EXIT.ok;
}

export async function revokeClientCert(
  client: AdminClient,
  name: string,
  json: boolean,
  terminal: Terminal,
): Promise<number> {
  const ended = await client.revokeDevice({ name });
  if (json) printJson(terminal, { clientCertificates: ended.map(asJson) });
  else terminal.err.write(harmless(`${name}: no longer let in; its open connections have ended\n`));
  return EXIT.ok;
}

const wordOf = ({ revokedAt, notAfter }: DeviceReport): "accepted" | "revoked" | "expired" =>
  revokedAt !== undefined ? "revoked" : notAfter > Date.now() ? "accepted" : "expired";

function stateOf(one: DeviceReport): Cell {
  const text = wordOf(one);
  return { text, style: text === "accepted" ? "green" : "yellow" };
}

const day = (ms: number): string => isoTime(ms)?.slice(0, 10) ?? "-";

const asJson = (one: DeviceReport): Record<string, unknown> => ({
  name: one.name,
  state: wordOf(one),
  serial: one.serial,
  sha256: one.sha256,
  issuedAt: isoTime(one.issuedAt),
  notAfter: isoTime(one.notAfter),
  revokedAt: isoTime(one.revokedAt) ?? null,
});
