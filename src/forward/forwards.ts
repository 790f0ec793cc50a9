/**
 * Which ports are forwarded now?
 * Owns: the table of open ports: opening, changing and closing them one by one, so that an edit of one leaves the others
 *   alone.
 * Never: moves a byte.
 */
import type { PortConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { createYoungGarbage } from "../core/young-garbage.ts";
import type { ForwardedPort, PortOptions, PortTraffic } from "./port.ts";
import { createKnownAddresses } from "./known-addresses.ts";
import { openTcpPort } from "./tcp.ts";
import { openUdpPort } from "./udp.ts";

export interface ForwardReport extends PortTraffic {
  key: string;
  protocol: "tcp" | "udp";
  /** Where clients connect; undefined while it could not be opened. */
  bound: { host: string; port: number } | undefined;
  target: PortTraffic["target"];
  to: string;
  description: string | undefined;
  allow: readonly string[];
  /** Ms since 1970. */
  since: number;
  /** Why it is not open. */
  error: string | undefined;
}

export interface Forwards {
  /**
   * Opens what is new, changes what changed, closes what is gone. A port that cannot be opened is logged and reported
   * and keeps no other from opening; it is tried again at the next `apply`. One at a time.
   */
  apply(ports: readonly PortConfig[]): Promise<void>;
  report(): ForwardReport[];
  /** Take no new sessions; wait until the open ones ended or the time is up, then cut them. */
  drain(options: { withinMs: number }): Promise<void>;
  /** Cut everything. */
  close(): Promise<void>;
}

interface Entry {
  config: PortConfig;
  port: ForwardedPort | undefined;
  since: number;
  error: string | undefined;
}

/** Milliseconds between looks whether the last session ended, while draining. */
const DRAIN_LOOK_MS = 100;

export function createForwards(given: Omit<PortOptions, "garbage" | "known"> & { now(): number }): Forwards {
  const options = { ...given, garbage: createYoungGarbage(), known: createKnownAddresses() };
  const entries = new Map<string, Entry>();
  let working: Promise<unknown> = Promise.resolve();

  async function open(config: PortConfig): Promise<void> {
    const entry: Entry = { config, port: undefined, since: options.now(), error: undefined };
    entries.set(config.key, entry);
    try {
      entry.port = await (config.protocol === "tcp" ? openTcpPort : openUdpPort)(config, options);
      const to = config.target.text;
      options.log.info({ event: "forward.opened", port: config.key, target: to }, "port forwarded");
    } catch (error) {
      entry.error = errorText(error);
      const hint = error instanceof Error && "hint" in error ? error.hint : undefined;
      options.log.error(
        { event: "forward.open_failed", port: config.key, reason: entry.error, hint },
        "a port cannot be opened",
      );
    }
  }

  async function close(entry: Entry): Promise<void> {
    entries.delete(entry.config.key);
    await entry.port?.close();
    options.log.info({ event: "forward.closed", port: entry.config.key }, "port no longer forwarded");
  }

  async function applyNow(ports: readonly PortConfig[]): Promise<void> {
    const wanted = new Map(ports.map((port) => [port.key, port]));
    // Closed first: a key may have been respelled with the same port.
    for (const entry of entries.values()) if (!wanted.has(entry.config.key)) await close(entry);
    for (const config of ports) {
      const entry = entries.get(config.key);
      if (entry?.port === undefined) await open(config);
      else {
        entry.config = config;
        entry.port.reconfigure(config);
      }
    }
  }

  return {
    apply(ports) {
      const next = working.then(() => applyNow(ports));
      working = next.catch(() => {});
      return next;
    },
    report: () =>
      [...entries.values()].map(({ config, port, since, error }) => ({
        ...(port?.traffic ?? NOTHING),
        key: config.key,
        protocol: config.protocol,
        bound: port?.bound(),
        to: config.target.text,
        description: config.description,
        allow: config.allow,
        since,
        error,
      })),
    async drain({ withinMs }) {
      await working;
      const until = performance.now() + withinMs;
      for (const { port } of entries.values()) port?.stopListening();
      const isBusy = () => [...entries.values()].some(({ port }) => (port?.traffic.active ?? 0) > 0);
      while (isBusy() && performance.now() < until) {
        await new Promise((resolve) => {
          setTimeout(resolve, DRAIN_LOOK_MS);
        });
      }
      await this.close();
    },
    async close() {
      await working;
      await Promise.all([...entries.values()].map(async ({ port }) => port?.close()));
      entries.clear();
    },
  };
}

const NOTHING: PortTraffic = {
  active: 0,
  total: 0,
  refused: 0,
  bytesIn: 0,
  bytesOut: 0,
  target: undefined,
};
