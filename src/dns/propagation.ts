/**
 * Can the world see the record yet?
 * Owns: asking each name server of the zone until all that answer have it, within a deadline.
 * Never: asks a resolver: that one would keep the "no" for minutes, and show it to whoever asks next.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../observe/log.ts";
import { type DnsServer, askDns } from "./ask.ts";
import { RECORD_TYPES, decodeText } from "./message.ts";
import { failed } from "./refusals.ts";
import type { Zones } from "./zones.ts";

/** Quick at first: with a name server of one's own the record is there at once. */
const LOOK_FIRST_MS = 200;
const LOOK_MAX_MS = 5_000;
/** Of this many looks one must be answered, else this server is not to be reached from here. */
const SILENT_LOOKS = 2;

export interface PropagationOptions {
  zones: Zones;
  log: Logger;
  /** How long the zone may take, ms. */
  withinMs: number;
}

export interface Propagation {
  /**
   * Resolves when every name server that answers shows the value. Where none answers (a network that lets no DNS out) it
   * resolves, too, and says so in the log: a CA sees more than we do.
   *
   * @throws GATEHOUSE_DNS_FAILED when one still does not show it at the deadline
   */
  awaitRecord(name: string, value: string, signal: AbortSignal): Promise<void>;
}

export function createPropagation({ zones, log, withinMs }: PropagationOptions): Propagation {
  return {
    async awaitRecord(name, value, signal) {
      const deadline = performance.now() + withinMs;
      const servers = await zones.nameServersOf(name, signal);
      const results = await Promise.all(servers.map((server) => watch(server, name, value, deadline, signal)));
      const missing = servers.filter((_, at) => results[at] === "missing").map(({ host }) => host);
      if (missing.length > 0) {
        throw failed(
          `${name} does not show its record after ${Math.round(withinMs / 1_000)} s at ${missing.join(", ")}`,
        );
      }
      const silent = servers.filter((_, at) => results[at] === "silent").map(({ host }) => host);
      if (silent.length > 0) {
        log.warn(
          { event: "dns.unchecked", name, silent },
          "name servers of the zone did not answer; the CA may see more",
        );
      }
      log.debug({ event: "dns.visible", name, servers: servers.length }, "the record is visible");
    },
  };
}

async function watch(
  server: DnsServer,
  name: string,
  value: string,
  deadline: number,
  signal: AbortSignal,
): Promise<"there" | "missing" | "silent"> {
  let hasAnswered = false;
  for (let look = 1, pause = LOOK_FIRST_MS; ; look++, pause = Math.min(pause * 2, LOOK_MAX_MS)) {
    try {
      const { answers } = await askDns(server, { name, type: "TXT", recurse: false }, signal);
      hasAnswered = true;
      const texts = answers.filter(({ type }) => type === RECORD_TYPES.TXT).map(({ data }) => decodeText(data));
      if (texts.includes(value)) return "there";
    } catch {
      signal.throwIfAborted();
      if (!hasAnswered && look >= SILENT_LOOKS) return "silent";
    }
    if (performance.now() + pause > deadline) return hasAnswered ? "missing" : "silent";
    await sleep(pause, undefined, { signal });
  }
}
