/**
 * A program on the services host: DuckDNS as its specification describes it, and witnesses that tell callers their address.
 * Owns: https://www.duckdns.org/update, https://ip-{a,b}.example.net/ and DNS names whoami-{a,b}.example.net (TXT); the
 *   first of them tries a port of the caller, too, as echoip does (/port/443).
 * Never: keeps names itself: it hands them to bind9, as RFC 2136 updates.
 *
 * Started by services.ts with a file name; faults are set and calls reported over process.send.
 * @see https://www.duckdns.org/spec.jsp
 */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { connect, isIPv4, isIPv6 } from "node:net";
import { OUTSIDE } from "./plan.ts";

/** What DuckDNS may be made to do instead of its work. Each has been seen in the wild (home-assistant/addons). */
export type DuckFault = "none" | "html" | "empty" | "404" | "ko" | "hang";

export interface InternetSettings {
  keyPem: string;
  chainPem: string;
  token: string;
  domains: readonly string[];
}

export interface DuckCall {
  /** Without the token. */
  query: Record<string, string>;
  from: string;
  answer: string;
}

const settings = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as InternetSettings;
let fault: DuckFault = "none";
const known = new Map<string, { a: string; aaaa: string }>();

process.on("message", (message: { fault: DuckFault }) => {
  fault = message.fault;
});
process.on("disconnect", () => process.exit());

const callerOf = (request: IncomingMessage): string =>
  (request.socket.remoteAddress ?? "").replace(/^::ffff:(?=[\d.]+$)/, "");

function updateZone(lines: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("nsupdate", [], { stdio: ["pipe", "ignore", "inherit"] });
    child.on("error", reject);
    child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`nsupdate ended with ${code}`))));
    child.stdin.on("error", () => {});
    child.stdin.end([`server ${OUTSIDE.services}`, "zone duckdns.org", ...lines, "send", ""].join("\n"));
  });
}

async function update(query: URLSearchParams, from: string): Promise<string> {
  const names = (query.get("domains") ?? "").split(",").map((name) => name.replace(/\.duckdns\.org$/, ""));
  if (query.get("token") !== settings.token) return "KO";
  if (!names.every((name) => settings.domains.includes(name))) return "KO";
  const isVerbose = query.get("verbose") === "true";
  const txt = query.get("txt");
  const clear = query.get("clear") === "true";
  if (txt !== null) {
    const lines = names.flatMap((name) => [
      `update delete ${name}.duckdns.org TXT`,
      ...(clear ? [] : [`update add ${name}.duckdns.org 60 TXT "${txt.replace(/["\\]/g, "")}"`]),
    ]);
    await updateZone(lines);
    return isVerbose ? `OK\n${txt}\nUPDATED` : "OK";
  }
  let [ip, ipv6] = [query.get("ip") ?? "", query.get("ipv6") ?? ""];
  if (isIPv6(ip)) [ip, ipv6] = ["", ip];
  // Only the IPv4 address is ever taken from the caller, and not when an IPv6 address was given.
  if (ip === "" && ipv6 === "" && isIPv4(from)) ip = from;
  if ((ip !== "" && !isIPv4(ip)) || (ipv6 !== "" && !isIPv6(ipv6))) return "KO";
  let changed = false;
  const lines: string[] = [];
  for (const name of names) {
    const last = known.get(name) ?? { a: "", aaaa: "" };
    const next = clear ? { a: "", aaaa: "" } : { a: ip || last.a, aaaa: ipv6 || last.aaaa };
    changed ||= next.a !== last.a || next.aaaa !== last.aaaa;
    known.set(name, next);
    for (const [kind, value] of [
      ["A", next.a],
      ["AAAA", next.aaaa],
    ] as const) {
      lines.push(`update delete ${name}.duckdns.org ${kind}`);
      if (value !== "") lines.push(`update add ${name}.duckdns.org 60 ${kind} ${value}`);
    }
  }
  await updateZone(lines);
  return isVerbose ? `OK\n${ip}\n${ipv6}\n${changed ? "UPDATED" : "NOCHANGE"}` : "OK";
}

async function duckDns(url: URL, from: string, response: ServerResponse): Promise<void> {
  const [, , domains = "", token = "", ip = ""] = url.pathname.split("/");
  const query = domains === "" ? url.searchParams : new URLSearchParams({ domains, token, ip });
  const faults: Record<DuckFault, (() => string) | undefined> = {
    none: undefined,
    html: () => "<!doctype html><title>DuckDNS</title><p>We will be right back.",
    empty: () => "",
    ko: () => "KO",
    "404": () => {
      response.statusCode = 404;
      return "Not Found";
    },
    hang: undefined,
  };
  const answer = fault === "hang" ? undefined : (faults[fault]?.() ?? (await update(query, from)));
  const { token: _secret, ...shown } = Object.fromEntries(query);
  process.send?.({ query: shown, from, answer: answer ?? "(silence)" } satisfies DuckCall);
  if (answer !== undefined) response.end(answer);
}

const PROBE_MS = 2_000;

function isReachable(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: PROBE_MS });
    const end = (reachable: boolean): void => {
      socket.destroy();
      resolve(reachable);
    };
    socket.on("connect", () => end(true));
    socket.on("timeout", () => end(false));
    socket.on("error", () => end(false));
  });
}

const web = createServer({ key: settings.keyPem, cert: settings.chainPem }, (request, response) => {
  response.on("error", () => {});
  const from = callerOf(request);
  const host = (request.headers.host ?? "").replace(/:\d+$/, "");
  const url = new URL(request.url ?? "/", "https://host");
  const [, port] = /^\/port\/(\d{1,5})$/.exec(url.pathname) ?? [];
  if (host === "ip-a.example.net" && port !== undefined) {
    void isReachable(from, Number(port)).then((reachable) => {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ ip: from, port: Number(port), reachable }));
    });
  } else if (/^ip-[ab]\.example\.net$/.test(host)) {
    response.end(`${from}\n`);
  } else if (host === "www.duckdns.org" && url.pathname.startsWith("/update")) {
    duckDns(url, from, response).catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      response.statusCode = 500;
      response.end();
    });
  } else {
    response.statusCode = 404;
    response.end();
  }
});
web.on("tlsClientError", (_error, socket) => socket.destroy());

/** One TXT record with the asker's address, for any name (RFC 1035 §4.1). */
const names = createSocket("udp4", (question, { address, port }) => {
  if (question.length < 17) return;
  let end = 12;
  while (end < question.length && question[end] !== 0) end += (question[end] ?? 0) + 1;
  const asked = question.subarray(12, end + 5);
  const header = Buffer.from(question.subarray(0, 12));
  header.writeUInt16BE(0x8580, 2);
  header.writeUInt16BE(1, 6);
  header.writeUInt32BE(0, 8);
  const text = Buffer.from(address, "latin1");
  const record = Buffer.from([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0, text.length + 1, text.length]);
  names.send(Buffer.concat([header, asked, record, text]), port, address);
});
names.on("error", (error) => process.stderr.write(`${String(error)}\n`));

names.bind(53, OUTSIDE.witness, () => {
  web.listen(443, () => process.stdout.write("ready\n"));
});
