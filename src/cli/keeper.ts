/**
 * Who answers a verb about certificates: the running Gatehouse, or, when none runs, this process itself?
 * Owns: finding that out, and a stand-in for as long as the verb takes.
 * Never: knows what the verb asks.
 */
import { type AdminClient, createAdminClient } from "../admin/client.ts";
import { loadConfig } from "../config/load.ts";
import { isGatehouseError } from "../core/errors.ts";
import { createLog } from "../observe/log.ts";
import { findAdminSocket, findConfig } from "./find-config.ts";
import { paint, type Terminal } from "./terminal.ts";
import type { Flags } from "./verbs.ts";
import { readVersion } from "./version.ts";

/**
 * @param options.canOrder  the verb may order: a CA must be able to look, so the ports are opened
 * @throws GATEHOUSE_NOT_RUNNING when a socket was named and nobody is there: then that one was meant
 */
export async function withKeeper(
  flags: Flags,
  terminal: Terminal,
  options: { canOrder: boolean },
  act: (client: AdminClient) => Promise<number>,
): Promise<number> {
  const socket = await findAdminSocket(flags, terminal.env);
  const client = createAdminClient(socket);
  try {
    await client.health();
  } catch (error) {
    const isNamed = flags.admin !== undefined || terminal.env["GATEHOUSE_ADMIN"] !== undefined;
    if (!isGatehouseError(error, "GATEHOUSE_NOT_RUNNING") || isNamed) throw error;
    return alone(flags, terminal, options.canOrder, () => act(client));
  }
  return act(client);
}

async function alone(flags: Flags, terminal: Terminal, canOrder: boolean, act: () => Promise<number>): Promise<number> {
  const { err, env } = terminal;
  const { config } = await loadConfig(findConfig(flags.config, env), { env, quarantine: true });
  const { startStandIn } = await import("../stand-in.ts");
  if (flags.json !== true) err.write(`${paint(err, "dim", "no Gatehouse runs; this command does the work itself")}\n`);
  const log = createLog({ level: "error", pretty: config.log.pretty, destination: err });
  const standIn = await startStandIn(config, { log, version: readVersion(), canOrder });
  try {
    return await act();
  } finally {
    await standIn.close();
  }
}
