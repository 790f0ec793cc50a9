/**
 * `gatehouse import` and `export`: certificates that come from elsewhere and go there.
 * Owns: which files are meant, their words and exit codes.
 * Never: stores: the one with the state folder does.
 */
import type { AdminClient, ImportOutcome } from "../admin/client.ts";
import { GatehouseError, isGatehouseError } from "../core/errors.ts";
import { readPortable, writePortable } from "../tls/portable.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { readPassword, writeSecretFile } from "./secret-files.ts";
import { harmless, isoTime, paint, printJson, reportError, type Terminal } from "./terminal.ts";

export interface ImportFlags {
  path: string;
  key: string | undefined;
  chain: string | undefined;
  passwordFile: string | undefined;
  name: string | undefined;
  force: boolean;
  isAlone: boolean;
  json: boolean;
}

interface Result {
  label: string;
  outcomes: readonly ImportOutcome[];
  error: GatehouseError | undefined;
}

/** @throws GATEHOUSE_IMPORT_* when the path holds nothing that could be tried */
export async function importCertificates(client: AdminClient, flags: ImportFlags, terminal: Terminal): Promise<number> {
  const password = flags.passwordFile === undefined ? undefined : await readPassword(flags.passwordFile);
  const { isFolder, found } = await readPortable({ ...flags, password });
  const results: Result[] = [];
  for (const { label, ca, read } of found) {
    if (isGatehouseError(read)) {
      results.push({ label, outcomes: [], error: read });
      continue;
    }
    try {
      const { keyPem, chainPem } = read;
      const { results: outcomes } = await client.importBundle({
        keyPem,
        chainPem,
        ca,
        name: flags.name?.toLowerCase(),
        force: flags.force,
      });
      results.push({ label, outcomes, error: undefined });
    } catch (error) {
      if (!isGatehouseError(error) || error.code === "GATEHOUSE_NOT_RUNNING") throw error;
      results.push({ label, outcomes: [], error });
    }
  }
  if (flags.json) printJson(terminal, { results: results.map(asJson) });
  else say(results, isFolder, terminal);
  // In a folder of certbot's there may be names that are not wanted here: that is said, and is no failure.
  const failed = results.flatMap(({ error }) => (error === undefined || (isFolder && isForeign(error)) ? [] : error));
  return failed[0] === undefined ? EXIT.ok : exitCodeOf(failed[0].code);
}

const isForeign = ({ code }: GatehouseError): boolean => code === "GATEHOUSE_CERTIFICATE_UNKNOWN_NAME";

function say(results: readonly Result[], isFolder: boolean, terminal: Terminal): void {
  const { out, err } = terminal;
  if (results.length === 0) err.write("there is no certificate in this folder\n");
  for (const { label, outcomes, error } of results) {
    if (isFolder) err.write(`${paint(err, "bold", harmless(label))}\n`);
    if (error !== undefined) reportError(terminal, error);
    for (const { name, outcome, issuer, notAfter } of outcomes) {
      const until = `of ${issuer}, valid until ${isoTime(notAfter)}`;
      const text =
        outcome === "imported"
          ? `${name}: imported the one ${until}`
          : `${name}: kept the one ${until}; --force takes the other all the same`;
      out.write(`${harmless(text)}\n`);
    }
  }
}

const asJson = ({ label, outcomes, error }: Result): Record<string, unknown> => ({
  from: label,
  names: outcomes.map((one) => ({ ...one, notAfter: isoTime(one.notAfter) })),
  error: error === undefined ? null : { code: error.code, message: error.message, hint: error.hint ?? null },
});

export interface ExportFlags {
  name: string;
  file: string;
  passwordFile: string | undefined;
  isModern: boolean;
  json: boolean;
}

/**
 * `.p12` and `.pfx` are PKCS#12; anything else is PEM, the key first. `-` writes PEM to standard output.
 *
 * @throws GATEHOUSE_IMPORT_PASSWORD when a PKCS#12 file is to have none
 */
export async function exportCertificate(client: AdminClient, flags: ExportFlags, terminal: Terminal): Promise<number> {
  const { name, file } = flags;
  const isPkcs12 = /\.(?:p12|pfx)$/i.test(file);
  if (isPkcs12 && flags.passwordFile === undefined) {
    throw new GatehouseError("GATEHOUSE_IMPORT_PASSWORD", {
      message: "A PKCS#12 file needs a password.",
      hint: "Write one into a file and name it with --password-file; - reads it from standard input.",
    });
  }
  const password = flags.passwordFile === undefined ? "" : await readPassword(flags.passwordFile);
  const { keyPem, chainPem, notAfter } = await client.exportBundle({ name: name.toLowerCase() });
  const pkcs12 = isPkcs12 ? { password, isModern: flags.isModern } : undefined;
  const content = await writePortable({ name, keyPem, chainPem, pkcs12 });
  if (file === "-") terminal.out.write(content);
  else await writeSecretFile(file, content);
  if (flags.json && file !== "-") printJson(terminal, { name, file, notAfter: isoTime(notAfter) });
  else terminal.err.write(harmless(`${name}: key and chain, valid until ${isoTime(notAfter)}, are in ${file}\n`));
  return EXIT.ok;
}
