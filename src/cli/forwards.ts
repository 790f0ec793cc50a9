/**
 * `gatehouse forwards ls`, `add` and `rm`: the table of forwarded ports.
 * Owns: the table's words, choosing a free port, the edit of the file and making the running Gatehouse take it.
 * Never: opens a port; the running Gatehouse does.
 */
import { createServer } from "node:net";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import type { AdminClient, ForwardReport } from "../admin/client.ts";
import { insertEntry, removeEntry } from "../config/text/edit-text.ts";
import { editConfig } from "../config/edit.ts";
import type { Config, PortConfig } from "../config/model.ts";
import { GatehouseError } from "../core/errors.ts";
import { EXIT } from "./exit-codes.ts";
import { span } from "./span.ts";
import { type Cell, table } from "./table.ts";
import { takeNow } from "./take-now.ts";
import { harmless, isoTime, printJson, type Terminal } from "./terminal.ts";

/** Where free ports are looked for: above what services use, below where clients' own ports begin (32768). */
const FIRST_FREE = 20_100;
const LAST_FREE = 20_999;

export async function listForwards(client: AdminClient, json: boolean, terminal: Terminal): Promise<number> {
  const forwards = await client.forwards();
  const now = Date.now();
  if (json) {
    printJson(terminal, { forwards: forwards.map(asJson) });
    return EXIT.ok;
  }
  if (forwards.length === 0) {
    terminal.err.write("no ports are forwarded; gatehouse forwards add --to HOST:PORT makes one\n");
    return EXIT.ok;
  }
  const head = ["PORT", "PROTOCOL", "TARGET", "DESCRIPTION", "ALLOW", "SESSIONS", "IN", "OUT", "SINCE", "STATE"];
  terminal.out.write(
    table(
      terminal.out,
      head,
      forwards.map((one) => row(one, now)),
    ),
  );
  return EXIT.ok;
}

function row(one: ForwardReport, now: number): Cell[] {
  return [
    String(one.bound?.port ?? one.key.replace(/^.*[/:]/, "")),
    one.protocol,
    one.to,
    one.description ?? "-",
    one.allow.length === 0 ? "everybody" : one.allow.join(", "),
    String(one.active),
    bytes(one.bytesIn),
    bytes(one.bytesOut),
    span(now - one.since),
    stateOf(one),
  ];
}

function stateOf({ error, target }: ForwardReport): Cell {
  if (error !== undefined) return { text: error, style: "red" };
  if (target?.ok === false) return { text: `target: ${target.error ?? "unreachable"}`, style: "yellow" };
  return { text: "open", style: "green" };
}

function asJson(one: ForwardReport): Record<string, unknown> {
  const { target, since, bound, error, description, ...rest } = one;
  return {
    ...rest,
    description: description ?? null,
    bound: bound ?? null,
    since: isoTime(since),
    error: error ?? null,
    lastTarget: target === undefined ? null : { ...target, at: isoTime(target.at), error: target.error ?? null },
  };
}

/** Thousands, as the configuration writes sizes. */
function bytes(count: number): string {
  const unit = ["B", "KB", "MB", "GB", "TB"];
  const power = count < 1000 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), unit.length - 1);
  return `${power === 0 ? count : (count / 1000 ** power).toFixed(1)} ${unit[power]}`;
}

export interface WantedForward {
  to: string | undefined;
  protocol: string;
  port: string | undefined;
  description: string | undefined;
  /** With commas between. */
  allow: string | undefined;
  json: boolean;
}

export async function addForward(
  file: string,
  flags: WantedForward,
  client: () => Promise<AdminClient>,
  terminal: Terminal,
): Promise<number> {
  const { protocol } = flags;
  if (flags.to === undefined || (protocol !== "tcp" && protocol !== "udp")) {
    terminal.err.write("gatehouse: forwards add takes --to HOST:PORT, and --protocol tcp or udp\n");
    return EXIT.usage;
  }
  const port = flags.port ?? String(await freePort(protocol, await portsInUse(file, terminal)));
  const key = `${protocol}/${port}`;
  const allow = flags.allow?.split(",").map((one) => one.trim());
  const entry =
    flags.description === undefined && allow === undefined
      ? flags.to
      : {
          to: flags.to,
          ...(flags.description === undefined ? {} : { description: flags.description }),
          ...(allow && { allow }),
        };
  const { config, warnings } = await editConfig(file, terminal.env, (text, before) => {
    if (before.config.ports.some((one) => one.key === key)) throw taken(key);
    return insertEntry(text, "ports", key, entry);
  });
  for (const { path, message, remedy } of warnings) {
    if (path.includes(key)) terminal.err.write(`warning: ${harmless(`${key} ${message}; ${remedy}`)}\n`);
  }
  const isRunning = await takeNow(client, terminal);
  const made = config.ports.find((one) => one.key === key);
  if (flags.json) printJson(terminal, { key, port: Number(port), to: flags.to, running: isRunning });
  else terminal.out.write(`${told(made, key)}\n`);
  return EXIT.ok;
}

export async function removeForward(
  file: string,
  written: string,
  flags: { json?: boolean },
  client: () => Promise<AdminClient>,
  terminal: Terminal,
): Promise<number> {
  let key = written;
  await editConfig(file, terminal.env, (text, { config }) => {
    key = keyFor(config, written);
    const without = removeEntry(text, "ports", key);
    if (without === undefined) throw unknown(config, written);
    return without;
  });
  const isRunning = await takeNow(client, terminal);
  if (flags.json === true) printJson(terminal, { key, running: isRunning });
  else terminal.out.write(`${key} is no longer forwarded\n`);
  return EXIT.ok;
}

/** `20170` is enough where only one entry has that number. */
function keyFor(config: Config, written: string): string {
  if (config.ports.some(({ key }) => key === written)) return written;
  const byNumber = config.ports.filter(({ port }) => String(port) === written);
  const [only] = byNumber;
  if (only === undefined || byNumber.length > 1) throw unknown(config, written);
  return only.key;
}

function unknown({ ports }: Config, written: string): GatehouseError {
  const names = ports.map(({ key }) => key).join(", ");
  return new GatehouseError("GATEHOUSE_FORWARD_UNKNOWN", {
    message: `${written} is not one of the forwarded ports.`,
    hint: names === "" ? "None is forwarded." : `There are ${names}.`,
  });
}

const taken = (key: string): GatehouseError =>
  new GatehouseError("GATEHOUSE_PORT_IN_USE", {
    message: `${key} is forwarded already.`,
    hint: `gatehouse forwards rm ${key} takes it away; without --port a free one is chosen.`,
  });

function told(port: PortConfig | undefined, key: string): string {
  if (port === undefined) return key;
  const who = port.allow.length === 0 ? "everybody" : port.allow.join(", ");
  return `${port.protocol} port ${port.port} now leads to ${port.target.text}, for ${who}`;
}

async function portsInUse(file: string, terminal: Terminal): Promise<ReadonlySet<number>> {
  const { loadConfig } = await import("../config/load.ts");
  const { config } = await loadConfig(file, { env: terminal.env });
  return new Set(config.ports.map(({ port }) => port));
}

/** The lowest that neither the file nor another program has. */
async function freePort(protocol: "tcp" | "udp", taken: ReadonlySet<number>): Promise<number> {
  for (let port = FIRST_FREE; port <= LAST_FREE; port++) {
    if (!taken.has(port) && (await canBind(protocol, port))) return port;
  }
  throw new GatehouseError("GATEHOUSE_PORT_IN_USE", {
    message: `No port from ${FIRST_FREE} to ${LAST_FREE} is free.`,
    hint: "Name one with --port.",
  });
}

async function canBind(protocol: "tcp" | "udp", port: number): Promise<boolean> {
  const probe = protocol === "tcp" ? createServer() : createSocket("udp4");
  try {
    const listening = once(probe, "listening");
    if ("listen" in probe) probe.listen(port);
    else probe.bind(port);
    await listening;
    const closed = once(probe, "close");
    probe.close();
    await closed;
    return true;
  } catch {
    return false;
  }
}
