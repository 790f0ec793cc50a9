/**
 * Requests over kept connections, by nghttp2's h2load: HTTP/1.1 and HTTP/2, with a browser's headers.
 * Owns: its words and what it says.
 * Never: compresses, pipelines, or reads bodies.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../../test/support/programs.ts";
import { pinned } from "../processes.ts";
import { type Amount, type Front, latencyOf, type Load } from "./load.ts";

export interface H2loadOptions {
  protocol: "h1" | "h2";
  connections: number;
  /** Without TLS. */
  isPlain?: boolean;
  /** Of h2load. Default one. */
  threads?: number;
  /** Requests in flight per connection; HTTP/1.1 has one. */
  streams?: number;
  /** Asked for in turn by each connection. */
  paths: readonly string[];
  /** POST this many bytes instead. */
  uploadBytes?: number;
  /** Bytes of an answer's body, on average. */
  answerBytes: number;
  /** Requests per second, all connections together; without, as fast as they are answered. */
  perSecond?: number;
}

/** What Chromium sends for a sub-resource of a Home Assistant page. */
const BROWSER: readonly string[] = [
  "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  "accept-encoding: gzip, deflate, br, zstd",
  "accept-language: en-GB,en;q=0.9,de;q=0.8",
  "cookie: session=8f2b1c90d5e34a7f9b6c1d2e3f405162; theme=dark",
  "priority: u=1, i",
  "referer: https://bench.example.org/lovelace/0",
  'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"',
  "sec-ch-ua-mobile: ?0",
  'sec-ch-ua-platform: "Linux"',
  "sec-fetch-dest: empty",
  "sec-fetch-mode: cors",
  "sec-fetch-site: same-origin",
  "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
];

const FINISHED = /^finished in ([\d.]+)(us|ms|s|m),/m;
const STATUS = /^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/m;
const ERRORS = /^requests: .* (\d+) errored, (\d+) timeout/m;
const SECONDS_PER: Readonly<Record<string, number>> = { us: 1e-6, ms: 1e-3, s: 1, m: 60 };
/** Beyond what was asked for: connecting, draining. */
const GRACE_MS = 60_000;

export function h2load(options: H2loadOptions): Load {
  return async (front, amount) => {
    const timesFile = join(front.folder, "h2load.tsv");
    rmSync(timesFile, { force: true });
    const command = pinned(front.core, ["h2load", ...words(options, front, amount), `--log-file=${timesFile}`]);
    const [program = "", ...args] = command;
    const withinMs = GRACE_MS + ("seconds" in amount ? amount.seconds * 1000 : 0);
    const { code, stdout, stderr } = await runProgram(program, args, { withinMs });
    const finished = FINISHED.exec(stdout);
    const status = STATUS.exec(stdout)?.slice(1).map(Number);
    const errors = ERRORS.exec(stdout)?.slice(1).map(Number);
    if (code !== 0 || finished === null || status === undefined || errors === undefined) {
      throw new Error(`h2load ended with ${code}: ${stdout.slice(-500)}${stderr.slice(-500)}`);
    }
    const [done = 0, ...others] = status;
    return {
      done,
      failed: [...others, ...errors].reduce((sum, count) => sum + count, 0),
      seconds: "seconds" in amount ? amount.seconds : Number(finished[1]) * (SECONDS_PER[finished[2] ?? "s"] ?? 1),
      bodyBytes: done * (options.uploadBytes ?? options.answerBytes),
      latency: latencyOf(readTimes(timesFile)),
    };
  };
}

function words(options: H2loadOptions, front: Front, amount: Amount): string[] {
  const { protocol, connections, threads = 1, streams = 1, uploadBytes, perSecond } = options;
  const clients = "count" in amount ? Math.min(connections, amount.count) : connections;
  const list = [
    `-c${clients}`,
    `-m${streams}`,
    `-t${Math.min(threads, clients)}`,
    `--connect-to=127.0.0.1:${front.port}`,
  ];
  list.push("seconds" in amount ? `-D${amount.seconds}` : `-n${amount.count}`);
  if (protocol === "h1") list.push("--h1");
  if (perSecond !== undefined) list.push(`--rps=${perSecond / clients}`);
  if (uploadBytes !== undefined) list.push(`--data=${uploadFile(front.folder, uploadBytes)}`);
  for (const header of BROWSER) list.push("-H", header);
  const scheme = options.isPlain === true ? "http" : "https";
  const uris = join(front.folder, "h2load.uris");
  writeFileSync(uris, options.paths.map((path) => `${scheme}://${front.host}:${front.port}${path}\n`).join(""));
  list.push("-i", uris);
  return list;
}

function uploadFile(folder: string, bytes: number): string {
  const file = join(folder, `upload-${bytes}`);
  writeFileSync(file, Buffer.alloc(bytes, "Home is where the front door is. "));
  return file;
}

/** Milliseconds from request to the end of its answer; failed ones (status -1) left out. */
function readTimes(file: string): number[] {
  const times: number[] = [];
  for (const line of readFileSync(file, "latin1").split("\n")) {
    const [, status, micros] = line.split("\t");
    if (micros !== undefined && status !== "-1") times.push(Number(micros) / 1000);
  }
  return times;
}
