/**
 * Does the CA's question on port 80 come to us, or does somebody else answer it?
 * Owns: asking for a challenge that does not exist, at our own listener and by the public address, and comparing.
 * Never: concludes anything from inside that only the outside can show.
 */
import { randomBytes } from "node:crypto";
import { request } from "node:http";
import type { Config } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { type Note, note } from "./finding.ts";
import { nearHost } from "./listening.ts";
import type { Running } from "./running.ts";

const ANSWER_WITHIN_MS = 5_000;
/** Enough to tell two pages apart. */
const MAX_BYTES = 4_096;

export interface AcmePathLook {
  config: Config;
  /** Any name of ours. */
  name: string | undefined;
  running: Running | undefined;
  publicAddress: string | undefined;
  /** From inside, the public address leads here on 443, so the router sends such connections on as it does those from outside. */
  hasLoopback: boolean;
  signal: AbortSignal;
}

export async function lookAtAcmePath(look: AcmePathLook): Promise<Note[]> {
  const { config, name, running, publicAddress, hasLoopback, signal } = look;
  const { directoryUrl, challenge } = config.acme;
  if (directoryUrl === undefined || challenge === "dns-01" || challenge === "tls-alpn-01") {
    return [note("ok", "ACME_PATH_NOT_NEEDED", { seen: "No CA asks on port 80 as this file is written." })];
  }
  const here = running?.listeners.find(({ kind }) => kind === "http");
  if (here === undefined || name === undefined) {
    const seen = running === undefined ? "no Gatehouse serves now" : "there is no listener for plain HTTP";
    return [note("unknown", "ACME_PATH_NOT_SEEN", { seen: `Where the CA's question ends was not seen: ${seen}.` })];
  }
  const host = name.replace("*", "gatehouse-doctor");
  const ours = await ask(nearHost(here.host), here.port, host, signal);
  if (publicAddress === undefined) {
    const seen = "Our own listener answers the CA's question; the public address to ask at is not known.";
    return [note("unknown", "ACME_PATH_NOT_SEEN", { seen })];
  }
  let theirs: string;
  try {
    theirs = await ask(publicAddress, 80, host, signal);
  } catch (error) {
    signal.throwIfAborted();
    const seen = `From inside, ${publicAddress}:80 does not answer (${errorText(error)}), so who answers a CA there was not seen.`;
    return [note("unknown", "ACME_PATH_NOT_SEEN", { seen })];
  }
  if (theirs === ours) {
    return [note("ok", "ACME_PATH_OURS", { seen: `What a CA asks at ${publicAddress}:80 is answered here.` })];
  }
  const seen = `Another web server answers at ${publicAddress}:80, where a CA asks`;
  if (!hasLoopback) {
    return [
      note("unknown", "ACME_PATH_UNCLEAR", {
        seen: `${seen}; seen from inside, that may be the router's own page, which nobody outside gets.`,
        next: `Open http://${host}/ with a phone off the Wi-Fi: it should come to https://${host}/.`,
      }),
    ];
  }
  return [
    note("error", "ACME_PATH_SHADOWED", {
      seen: `${seen}, though 443 leads here.`,
      why: "The CA reads that server's answer and refuses to sign; visitors of http:// get its page.",
      next: `Forward port 80 of the router to port ${here.port} of this machine, and switch its own remote page off.`,
    }),
  ];
}

/** What names the one who answers: the status, its kind and its page. @throws the network's error; one after 5 s */
function ask(address: string, port: number, host: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const bound = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]);
    const path = `/.well-known/acme-challenge/${randomBytes(32).toString("base64url")}`;
    const headers = { host, "user-agent": "gatehouse-doctor" };
    const asked = request({ host: address, port, path, headers, agent: false, signal: bound }, (answer) => {
      let page = "";
      const done = (): void => {
        resolve([answer.statusCode, answer.headers["content-type"], answer.headers["server"], page].join("\n"));
        asked.destroy();
      };
      answer.setEncoding("latin1");
      answer.on("error", reject);
      answer.on("data", (piece: string) => {
        page = (page + piece).slice(0, MAX_BYTES);
        if (page.length === MAX_BYTES) done();
      });
      answer.on("end", done);
    });
    asked.on("error", reject);
    asked.end();
  });
}
