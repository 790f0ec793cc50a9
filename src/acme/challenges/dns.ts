/**
 * How is a name proved in its zone?
 * Owns: DNS-01 (RFC 8555 §8.4): writing the TXT record where aliases lead, waiting until the zone shows it, removing it, and
 *   the list of records that are still to be removed, on disk, so that a crash leaves none behind.
 * Never: knows a provider; `dns/` does.
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../../core/time.ts";
import type { DnsProvider } from "../../dns/contract.ts";
import type { Propagation } from "../../dns/propagation.ts";
import type { Zones } from "../../dns/zones.ts";
import { errorText } from "../../core/errors.ts";
import type { Logger } from "../../observe/log.ts";
import type { Storage, StorageLock } from "../../storage/contract.ts";
import { isRecord } from "../problem.ts";
import { type Question, type Solver, digestOf } from "./solver.ts";

const FOLDER = "acme/dns-records";
/** Younger records may be of an order that another process has under way; the longest order takes half of it. */
const LEFT_BEHIND_AFTER_MS = 15 * 60_000;
/** A provider that no longer takes our removal (another account, another provider) is not asked for ever. */
const GIVE_UP_AFTER_MS = 30 * 86_400_000;
/** With one value at a time another process's order is waited for: the zone's deadline and the CA's. */
const TURN_WITHIN_MS = 600_000;
const REMOVE_WITHIN_MS = 60_000;

export interface DnsChallengeOptions {
  provider: DnsProvider;
  zones: Pick<Zones, "follow">;
  propagation: Propagation;
  storage: Storage;
  clock: Clock;
  log: Logger;
}

interface Written {
  /** Where the aliases led. */
  name: string;
  value: string;
  provider: string;
  at: number; // ms since 1970
}

export function createDnsSolver(options: DnsChallengeOptions): Solver {
  const { provider, zones, propagation, storage, clock, log } = options;
  /** Held from the first record to its removal where the provider keeps one value at a time. */
  let turn: { lock: StorageLock; value: string } | undefined;
  const clearedPlace = `acme/dns-cleared/${provider.kind}`;

  const valueOf = ({ keyAuthorization }: Question): string => digestOf(keyAuthorization).toString("base64url");

  async function takeTurn(value: string, signal: AbortSignal): Promise<void> {
    if (provider.oneAtATimeMs === 0 || turn?.value === value) return;
    await giveTurn();
    const lock = await storage.lock(`acme-dns-${provider.kind}`, { withinMs: TURN_WITHIN_MS, signal });
    turn = { lock, value };
    // A resolver that saw the last value, whoever wrote it, shows it until its time to live is over.
    const clearedAt = Number((await storage.read(clearedPlace))?.toString("utf8") ?? 0);
    const rest = clearedAt + provider.oneAtATimeMs - clock.now();
    if (rest > 0) await sleep(Math.min(rest, provider.oneAtATimeMs), undefined, { signal });
  }

  async function giveTurn(): Promise<void> {
    const held = turn;
    turn = undefined;
    await held?.lock.release();
  }

  async function erase(written: Written): Promise<void> {
    await provider.clear(written.name, written.value, AbortSignal.timeout(REMOVE_WITHIN_MS));
    if (provider.oneAtATimeMs > 0) await storage.write(clearedPlace, String(clock.now()));
    await storage.remove(placeOf(written));
  }

  async function eraseOld(key: string): Promise<void> {
    const written = parse(await storage.read(key));
    if (written === undefined) return storage.remove(key);
    const age = Math.abs(clock.now() - written.at);
    if (age < LEFT_BEHIND_AFTER_MS) return;
    if (written.provider === provider.kind) {
      try {
        await erase(written);
        log.info({ event: "dns.swept", name: written.name }, "a record that was left behind is removed");
        return;
      } catch (error) {
        log.warn(
          { event: "dns.unswept", name: written.name, reason: errorText(error) },
          "a record that was left behind could not be removed",
        );
      }
    }
    if (age > GIVE_UP_AFTER_MS) await storage.remove(key);
  }

  return {
    type: "dns-01",

    async present(question, signal) {
      const value = valueOf(question);
      const name = await zones.follow(`_acme-challenge.${question.name}`, signal);
      await takeTurn(value, signal);
      const written: Written = { name, value, provider: provider.kind, at: clock.now() };
      await storage.write(placeOf(written), JSON.stringify({ version: 1, ...written }));
      await provider.present(name, value, signal);
      log.info({ event: "dns.written", name, provider: provider.kind }, "TXT record written, waiting for the zone");
      await propagation.awaitRecord(name, value, signal);
    },

    // The CA asks name servers, not us.
    wasAsked: () => undefined,

    async remove(question) {
      const value = valueOf(question);
      try {
        for (const key of await storage.list(FOLDER)) {
          const written = parse(await storage.read(key));
          if (written?.value === value && written.provider === provider.kind) await erase(written);
        }
      } finally {
        if (turn?.value === value) await giveTurn();
      }
    },

    async sweep() {
      for (const key of await storage.list(FOLDER)) await eraseOld(key);
    },
  };
}

const placeOf = ({ name, value }: Written): string =>
  `${FOLDER}/${createHash("sha256").update(`${name} ${value}`).digest("hex").slice(0, 32)}.json`;

function parse(bytes: Buffer | undefined): Written | undefined {
  try {
    const data: unknown = JSON.parse(bytes?.toString("utf8") ?? "");
    if (!isRecord(data)) return undefined;
    const { name, value, provider, at } = data;
    if (typeof name !== "string" || typeof value !== "string" || typeof provider !== "string") return undefined;
    return { name, value, provider, at: Number(at) };
  } catch {
    return undefined;
  }
}
