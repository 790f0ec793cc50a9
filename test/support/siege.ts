/**
 * A whole Gatehouse under attack: attackers of any kind, an honest visitor meanwhile, and what is left behind.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { eventually } from "./eventually.ts";
import { configText, type RunningGatehouse, startGatehouse, temporaryFolder } from "./gatehouse.ts";
import type { Visits } from "./visitor.ts";

const VISITOR = new URL("visitor.ts", import.meta.url).pathname;

export const NAME = "home.localhost";

export interface Siege {
  gatehouse: RunningGatehouse;
  /** Of somebody honest so far: one after the other, each on a connection of its own. */
  visits: readonly Visits[];
  /** Value of the metric that has these labels. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  limit(name: string): Promise<number>;
  openConnections(): Promise<number>;
}

/** @param rest  YAML below listen, state and admin; NAME must answer GET /ok with 200 */
export async function startSiege(t: TestContext, rest: string): Promise<Siege> {
  const folder = await temporaryFolder(t);
  const gatehouse = await startGatehouse(t, { folder, config: configText(folder, rest) });
  await gatehouse.line("certificate.issued", (line) => line["name"] === NAME);
  const visits: Visits[] = [];
  const visitor = spawn(process.execPath, [VISITOR, `${gatehouse.httpsPort}`, NAME], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  createInterface({ input: visitor.stdout }).on("line", (line) => visits.push(JSON.parse(line) as Visits));
  const gone = once(visitor, "exit");
  t.after(async () => {
    visitor.stdin.end();
    await gone;
  });
  // The first ones pay for the certificate and for code that is not compiled yet.
  await eventually("somebody was served", () => visits.length >= 5, 60_000);

  const scrape = async (): Promise<string> => {
    for (let tries = 0; ; tries++) {
      try {
        const answer = await fetch(`http://127.0.0.1:${gatehouse.metricsPort}/metrics`);
        return await answer.text();
      } catch (error) {
        // A kept connection may end while the question is on its way; this is no test of that.
        if (tries >= 5) throw error;
      }
    }
  };
  const metric: Siege["metric"] = async (name, labels = {}) => {
    const wanted = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
    const lines = (await scrape())
      .split("\n")
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    const found = lines.filter((line) => wanted.every((label) => line.includes(label)));
    return found.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  };
  return {
    gatehouse,
    visits,
    metric,
    limit: (limit) => metric("gatehouse_limit_reached_total", { limit }),
    openConnections: () => metric("gatehouse_connections_open"),
  };
}

/** Milliseconds: a machine with two cores shares them between Gatehouse, attackers, visitor and other tests. */
const LATER_MS = 1_000;
const TIMES = 10;

/** Everybody honest was served, and in about the time that such a visit took elsewhere on this machine meanwhile. */
export function assertServed({ visits }: Siege, since: number): void {
  const meanwhile = visits.slice(since);
  assert.ok(meanwhile.length > 0, "nobody came");
  assert.deepEqual(
    meanwhile.flatMap(({ problem }) => problem ?? []),
    [],
  );
  const median = (times: number[]): number => times.toSorted((one, other) => one - other)[times.length >> 1] ?? 0;
  const [ms, normalMs] = [median(meanwhile.map((one) => one.ms)), median(meanwhile.map((one) => one.normalMs))];
  assert.ok(ms < TIMES * normalMs + LATER_MS, `a visit took ${ms} ms, elsewhere ${normalMs} ms`);
}

/** Somebody who means no good: a connection, what came over it, and when it ended. */
export interface Attacker {
  socket: Socket;
  /** Below TLS; the same as `socket` without. */
  raw: Socket;
  received(): string;
  bytes(): number;
  isClosed(): boolean;
  closed: Promise<void>;
  /** Writes unless it is over. */
  send(bytes: string | Uint8Array): void;
}

export interface Knock {
  port: number;
  /** Loopback has sixteen million addresses (RFC 1122 §3.2.1.3). */
  from?: string;
  /** Speak TLS and wait for its end. */
  isTls?: boolean;
  /** Host name to ask for in it. */
  name?: string;
}

/** How much of what came is kept. */
const MAX_KEPT = 65_536;

export async function knock(t: TestContext, { port, from, isTls = false, name = NAME }: Knock): Promise<Attacker> {
  const raw = connectTcp({
    port,
    host: "127.0.0.1",
    noDelay: true,
    ...(from === undefined ? {} : { localAddress: from }),
  });
  raw.on("error", () => {});
  t.after(() => raw.destroy());
  const socket = isTls
    ? connectTls({ socket: raw, servername: name, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] })
    : raw;
  socket.on("error", () => {});
  let received = "";
  let bytes = 0;
  let isClosed = false;
  const closed = new Promise<void>((resolve) => {
    for (const event of ["end", "close"]) {
      raw.once(event, () => {
        isClosed = true;
        resolve();
      });
    }
  });
  socket.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (received.length < MAX_KEPT) received += chunk.toString("latin1");
  });
  socket.once("end", () => socket.destroy());
  await Promise.race([once(socket, isTls ? "secureConnect" : "connect"), closed]).catch(() => {});
  return {
    socket,
    raw,
    received: () => received,
    bytes: () => bytes,
    isClosed: () => isClosed,
    closed,
    send: (text) => {
      if (!isClosed && socket.writable) socket.write(text);
    },
  };
}

/** Writes one piece every `everyMs` until the connection is over. */
export async function drip(attacker: Attacker, piece: string | Uint8Array, everyMs: number): Promise<void> {
  while (!attacker.isClosed()) {
    attacker.send(piece);
    await Promise.race([wait(everyMs), attacker.closed]);
  }
}

/** Writes `piece` as fast as it is taken until the connection is over. */
export async function pour(attacker: Attacker, piece: string | Uint8Array): Promise<void> {
  while (!attacker.isClosed() && attacker.socket.writable) {
    // Not with all the CPU there is: the others have to be seen as well.
    if (attacker.socket.write(piece)) await wait(1);
    else await Promise.race([once(attacker.socket, "drain").catch(() => {}), attacker.closed]);
  }
}
