/**
 * What does the CA's directory say to anybody who asks: what time is it there, and by which names does CAA know it?
 * Owns: one GET of the directory, its Date and its `caaIdentities`.
 * Never: trusts it with more than words: its certificate is not verified.
 *
 * With a wrong clock no certificate would pass, and nothing but a date and a few names is taken. A liar can only make us
 * warn.
 */
import { request } from "node:https";

const ASK_WITHIN_MS = 5_000;
/** Directories have two KB. */
const MAX_BYTES = 65_536;
const MAX_IDENTITIES = 16;

export interface HttpsAnswer {
  /** By its Date, ms since 1970; undefined when it has none. */
  theirs: number | undefined;
  /** Our clock at that moment, ms since 1970. */
  ours: number;
  body: string;
}

/** @throws the network's error; after 5 s an AbortError; the signal's reason */
export function askHttps(url: string, signal: AbortSignal): Promise<HttpsAnswer> {
  return new Promise((resolve, reject) => {
    const bound = AbortSignal.any([signal, AbortSignal.timeout(ASK_WITHIN_MS)]);
    const asked = request(url, { agent: false, rejectUnauthorized: false, signal: bound }, (answer) => {
      const date = Date.parse(answer.headers.date ?? "");
      const ours = Date.now();
      let body = "";
      const done = (): void => {
        resolve({ theirs: Number.isNaN(date) ? undefined : date, ours, body });
        asked.destroy();
      };
      answer.setEncoding("utf8");
      answer.on("error", reject);
      answer.on("data", (piece: string) => {
        body += piece;
        if (body.length > MAX_BYTES) done();
      });
      answer.on("end", done);
    });
    asked.on("error", reject);
    asked.end();
  });
}

/** RFC 8555 §7.1.1; empty where it names none. */
export function caaIdentities({ body }: HttpsAnswer): string[] {
  try {
    const { meta } = JSON.parse(body) as { meta?: { caaIdentities?: unknown } };
    const list = Array.isArray(meta?.caaIdentities) ? meta.caaIdentities.slice(0, MAX_IDENTITIES) : [];
    return list.filter((one): one is string => typeof one === "string").map((one) => one.toLowerCase());
  } catch {
    return [];
  }
}
