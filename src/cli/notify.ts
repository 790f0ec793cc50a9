/**
 * `gatehouse notify test`: does a message reach me?
 * Owns: its words and exit code.
 * Never: sends; the running Gatehouse does, as it would an alert.
 */
import type { AdminClient } from "../admin/client.ts";
import { EXIT } from "./exit-codes.ts";
import { harmless, paint, printJson, type Terminal } from "./terminal.ts";

export async function testNotify(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  const results = await client.testNotify();
  const isWell = results.every(({ ok }) => ok);
  if (json) printJson(terminal, { results: results.map((one) => ({ ...one, problem: one.problem ?? null })) });
  else if (results.length === 0) {
    terminal.err.write("nobody is told: write webhooks or mail under notify: in the configuration\n");
  }
  for (const { receiver, ok, problem } of json ? [] : results) {
    const { out } = terminal;
    const state = ok ? paint(out, "green", "sent") : paint(out, "red", "failed");
    out.write(`${harmless(receiver)}: ${state}${problem === undefined ? "" : `, ${harmless(problem)}`}\n`);
  }
  return isWell && results.length > 0 ? EXIT.ok : EXIT.failed;
}
