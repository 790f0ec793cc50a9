/**
 * When does the CA itself want a certificate to be renewed?
 * Owns: RFC 9773: asking for the window, one instant in it that stays while the window does, and what a renewal replaces.
 *   Kept under `acme/<ca>/renewal-info/<name>.json`, written when a window changes.
 * Never: renews (the scheduler does), or lets a CA put a renewal off for too long (`due` has the floor).
 *
 * This is how a mass revocation is survived unattended: the CA moves the window into the past.
 */
import { LRUCache } from "lru-cache";
import { errorText } from "../../core/errors.ts";
import type { Clock } from "../../core/time.ts";
import type { Logger } from "../../observe/log.ts";
import type { CertificateBundle } from "../../storage/bundles.ts";
import type { Storage } from "../../storage/contract.ts";
import { caFolder } from "../account.ts";
import { certificateId } from "../certificate-id.ts";
import { isRecord } from "../problem.ts";
import type { AcmeInfo, RenewalWindow } from "../wire/info.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** RFC 9773 §4.3.2: at least 1 minute, at most 1 day, and 6 hours where the CA says nothing. */
const SHORTEST_MS = MINUTE_MS;
const LONGEST_MS = DAY_MS;
const USUAL_MS = 6 * HOUR_MS;
/** A CA that does not answer is left alone, for all names together. */
const FIRST_PAUSE_MS = 10 * MINUTE_MS;
/** All names of a home, and all homes after a power cut, must not ask in one second. */
const SPREAD_MS = 10 * MINUTE_MS;
/** As many as names that one home may have. */
const MAX_IDS = 10_000;

export interface Advice {
  /** ms since 1970; undefined: the CA has nothing to say, and the share of life counts. */
  renewAt: number | undefined;
  /** The window has begun: the CA takes a renewal without counting it. */
  isOpen(now: number): boolean;
  /** Where the CA says why, when the window was moved; for people. */
  explanationUrl: string | undefined;
}

export interface RenewalInfo {
  /** What was heard last about exactly this certificate. Never rejects. */
  known(bundle: CertificateBundle): Promise<Advice | undefined>;
  /** Ask again. Never rejects; `askAgainAt` is ms since 1970. */
  ask(bundle: CertificateBundle, signal: AbortSignal): Promise<{ advice: Advice | undefined; askAgainAt: number }>;
  /** When a certificate that has just been read should be asked about first, ms since 1970. */
  firstAskAt(): number;
  /** For `replaces` in the next order; undefined when this CA has no use for it. */
  replaces(bundle: CertificateBundle, signal: AbortSignal): Promise<string | undefined>;
  /** The CA has its successor already (alreadyReplaced): it is not named again. */
  wasReplaced(bundle: CertificateBundle): Promise<void>;
}

interface Kept {
  serial: string;
  window: RenewalWindow | undefined;
  /** The instant chosen in the window. */
  chosen: number | undefined;
  isReplaced: boolean;
}

export interface RenewalInfoOptions {
  directoryUrl: string;
  info: AcmeInfo;
  storage: Storage;
  clock: Clock;
  log: Logger;
  /** 0 … 1. Default Math.random. */
  random?: (() => number) | undefined;
}

export function createRenewalInfo(options: RenewalInfoOptions): RenewalInfo {
  const { directoryUrl, info, storage, clock, log, random = Math.random } = options;
  const folder = `${caFolder(directoryUrl)}/renewal-info`;
  let endpoint: { url: string | undefined; heardAt: number } | undefined;
  let failuresInARow = 0;
  let quietUntil = 0;

  /** Reading it out of a certificate takes a millisecond, and each is asked about some four times a day. */
  const ids = new LRUCache<string, string>({ max: MAX_IDS });
  const idOf = ({ serial, chainPem }: CertificateBundle): string | undefined => {
    const id = ids.get(serial) ?? certificateId(chainPem);
    if (id !== undefined) ids.set(serial, id);
    return id;
  };

  const place = (name: string): string => `${folder}/${name.replaceAll(":", "_")}.json`;
  const none = (serial: string): Kept => ({ serial, window: undefined, chosen: undefined, isReplaced: false });

  async function read({ name, serial }: CertificateBundle): Promise<Kept> {
    const kept = parse(await storage.read(place(name)).catch(() => undefined));
    return kept?.serial === serial ? kept : none(serial);
  }

  async function write({ name }: CertificateBundle, kept: Kept): Promise<void> {
    await storage.write(place(name), `${JSON.stringify({ version: 1, ...kept })}\n`).catch((error: unknown) => {
      log.warn(
        { event: "acme.renewal_info.unkept", name, reason: errorText(error) },
        "renewal information is not kept",
      );
    });
  }

  /** The directory is read again each day: a CA may begin to offer it. */
  async function endpointUrl(signal: AbortSignal): Promise<string | undefined> {
    const now = clock.now();
    if (endpoint === undefined || Math.abs(now - endpoint.heardAt) > DAY_MS) {
      endpoint = { url: (await info.directory(signal)).renewalInfoUrl, heardAt: now };
    }
    return endpoint.url;
  }

  async function hear(bundle: CertificateBundle, window: RenewalWindow | undefined): Promise<Kept> {
    const kept = await read(bundle);
    if (window === undefined || (kept.window?.start === window.start && kept.window.end === window.end)) return kept;
    const chosen = Math.round(window.start + random() * (window.end - window.start));
    const { name } = bundle;
    const facts = { name, start: window.start, end: window.end, chosen, explanation: window.explanationUrl };
    const isNews = kept.window !== undefined;
    log[isNews ? "warn" : "info"](
      { event: "acme.renewal_info.window", ...facts },
      isNews ? "the CA has moved the time of a renewal" : "the CA has said when to renew",
    );
    const next = { ...kept, window, chosen };
    await write(bundle, next);
    return next;
  }

  function pauseAfter(error: unknown): number {
    failuresInARow++;
    endpoint = undefined;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** (failuresInARow - 1), USUAL_MS);
    quietUntil = clock.now() + pause;
    const level = failuresInARow === 1 ? "info" : "debug";
    log[level](
      { event: "acme.renewal_info.none", ca: directoryUrl, reason: errorText(error), pauseMs: pause },
      "the CA did not say when to renew; the share of life counts until it does",
    );
    return quietUntil;
  }

  return {
    known: async (bundle) => adviceOf(await read(bundle)),
    firstAskAt: () => clock.now() + Math.round(random() * SPREAD_MS),

    async ask(bundle, signal) {
      const spread = Math.round(random() * MINUTE_MS);
      const later = async (at: number) => ({ advice: adviceOf(await read(bundle)), askAgainAt: at + spread });
      const id = idOf(bundle);
      if (id === undefined) return { advice: undefined, askAgainAt: clock.now() + DAY_MS };
      if (quietUntil > clock.now() && quietUntil - clock.now() <= USUAL_MS) return later(quietUntil);
      try {
        const url = await endpointUrl(signal);
        if (url === undefined) return { advice: undefined, askAgainAt: clock.now() + DAY_MS };
        const { window, retryAfterMs = USUAL_MS } = await info.renewalInfo(url, id, signal);
        failuresInARow = 0;
        const wait = Math.min(Math.max(retryAfterMs, SHORTEST_MS), LONGEST_MS);
        return { advice: adviceOf(await hear(bundle, window)), askAgainAt: clock.now() + wait };
      } catch (error) {
        if (signal.aborted) return later(clock.now());
        return later(pauseAfter(error));
      }
    },

    async replaces(bundle, signal) {
      const url = await endpointUrl(signal).catch(() => undefined);
      if (url === undefined || (await read(bundle)).isReplaced) return undefined;
      return idOf(bundle);
    },

    async wasReplaced(bundle) {
      await write(bundle, { ...(await read(bundle)), isReplaced: true });
    },
  };
}

function adviceOf({ window, chosen }: Kept): Advice | undefined {
  if (window === undefined) return undefined;
  return { renewAt: chosen, isOpen: (now) => now >= window.start, explanationUrl: window.explanationUrl };
}

function parse(bytes: Buffer | undefined): Kept | undefined {
  try {
    const data: unknown = JSON.parse(bytes?.toString("utf8") ?? "");
    if (!isRecord(data) || typeof data["serial"] !== "string") return undefined;
    const window = isRecord(data["window"]) ? data["window"] : {};
    const { start, end, explanationUrl } = window;
    const isWhole = typeof start === "number" && typeof end === "number" && typeof data["chosen"] === "number";
    return {
      serial: data["serial"],
      window: isWhole
        ? { start, end, explanationUrl: typeof explanationUrl === "string" ? explanationUrl : undefined }
        : undefined,
      chosen: isWhole ? Number(data["chosen"]) : undefined,
      isReplaced: data["isReplaced"] === true,
    };
  } catch {
    return undefined;
  }
}
