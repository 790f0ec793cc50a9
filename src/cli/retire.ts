/**
 * `gatehouse revoke`, `disable` and `cleanup`: certificates that are wanted no longer.
 * Owns: their words and exit codes.
 * Never: removes anything itself.
 */
import type { AdminClient } from "../admin/client.ts";
import { EXIT } from "./exit-codes.ts";
import { harmless, isoTime, paint, printJson, type Terminal } from "./terminal.ts";

export async function revokeCertificate(
  client: AdminClient,
  { name, reason, json }: { name: string; reason: string; json: boolean },
  terminal: Terminal,
): Promise<number> {
  const { out, err } = terminal;
  const tell = ({ text }: { text: string }): void => {
    if (!json) err.write(`${paint(err, "dim", `  … ${harmless(text)}`)}\n`);
  };
  const done = await client.revoke({ name, reason }, tell);
  const code = done.next === "failed" ? EXIT.failed : EXIT.ok;
  if (json) {
    printJson(terminal, { ...done, problem: done.problem ?? null });
    return code;
  }
  out.write(
    harmless(
      done.isTold
        ? `${name}: ${done.serial} is revoked at its CA (${reason})\n`
        : `${name}: ${done.serial} is out of use; its CA keeps no list of revoked ones\n`,
    ),
  );
  if (done.next === "issued") out.write(`${harmless(name)}: a new one with a new key serves\n`);
  if (done.next === "disabled") err.write("no new one is ordered: the name is disabled\n");
  if (done.next === "failed") {
    err.write(
      `no new one could be had yet; the revoked one serves on, and tries go on: ${harmless(done.problem ?? "")}\n`,
    );
  }
  return code;
}

export async function disableName(
  client: AdminClient,
  name: string,
  json: boolean,
  terminal: Terminal,
): Promise<number> {
  const done = await client.disable({ name });
  if (json) printJson(terminal, done);
  else if (done.wasDisabled) terminal.err.write(`${harmless(name)} was disabled before\n`);
  else {
    terminal.err.write(
      `no further orders for ${harmless(name)}; what it has serves on. gatehouse issue ${harmless(name)} takes it up again\n`,
    );
  }
  return EXIT.ok;
}

export async function cleanUp(
  client: AdminClient,
  { isRehearsal, json }: { isRehearsal: boolean; json: boolean },
  terminal: Terminal,
): Promise<number> {
  const { removed } = await client.cleanup({ isRehearsal });
  if (json) {
    const lines = removed.map(({ name, files, notAfter }) => ({ name, files, notAfter: isoTime(notAfter) ?? null }));
    printJson(terminal, { isRehearsal, removed: lines });
    return EXIT.ok;
  }
  if (removed.length === 0) terminal.err.write("nothing to clean up: every name is in the configuration\n");
  for (const { name, files, notAfter } of removed) {
    const until = notAfter === undefined ? "" : `, a certificate until ${isoTime(notAfter)} among them`;
    terminal.out.write(harmless(`${name}: ${files} files ${isRehearsal ? "would go" : "removed"}${until}\n`));
  }
  return EXIT.ok;
}
