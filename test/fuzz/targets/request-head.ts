/**
 * The head of an ordinary request: what the fast lane takes, Node's parser and the compat lane's checks take too, and all
 * three read the same request.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { checkRequest } from "../../../src/proxy/lanes/check-request.ts";
import { HeadReader } from "../../../src/proxy/lanes/fast/head.ts";
import { BROKEN, INCOMPLETE } from "../../../src/proxy/rules/field-scan.ts";
import { limitsConfig } from "../../support/proxy-lane.ts";
import { createNodeReader } from "../llhttp.ts";
import type { FuzzTarget } from "../run.ts";

const corpus = (name: string): Buffer[] =>
  (JSON.parse(readFileSync(new URL(`../../corpus/data/${name}`, import.meta.url), "utf8")) as { bytes: string }[])
    .map(({ bytes }) => Buffer.from(bytes, "base64"))
    .filter((bytes) => bytes.length < 1_500);

const BROWSER = Buffer.from(
  "GET /lovelace/0?x=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*;q=0.8\r\n" +
    "Accept-Language: ko,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: a=b; c=d\r\n" +
    'Upgrade-Insecure-Requests: 1\r\nIf-None-Match: "x"\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n',
);
const POST = Buffer.from(
  "POST /api HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\nContent-Length: 5\r\nOrigin: https://a.test\r\n\r\nhello",
);

const { methods } = createRequire(import.meta.url)("node:_http_common") as { methods: string[] };
const readByNode = createNodeReader("request");
const limits = limitsConfig();
const facts = {
  peerAddress: "",
  peerPort: 0,
  localPort: 0,
  serverName: undefined,
  tlsVersion: undefined,
  scheme: "https",
} as const;

/** The reader puts names into lower case where they stand, so it gets bytes of its own. */
function read(bytes: Buffer): { reader: HeadReader; end: number } {
  const reader = new HeadReader();
  const room = Buffer.alloc(bytes.length);
  bytes.copy(room);
  return { reader, end: reader.read(room, limits) };
}

export const requestHead: FuzzTarget = {
  name: "request-head",
  // The ordinary ones often, because the rest is hardly ever taken.
  seeds: [
    ...Array.from({ length: 60 }, (_, at) => (at % 2 === 0 ? BROWSER : POST)),
    ...corpus("http1-requests.json"),
    ...corpus("own-requests.json"),
  ],
  dictionary: [
    "Host: b.test\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: x\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "\r\n\r\n",
    "\r\n ",
    " HTTP/1.1\r\n",
    "HTTP/1.0",
    "http://a.test",
    "*",
    " ",
    "\t",
    "_",
    ":",
    "%00",
  ].map((text) => Buffer.from(text, "latin1")),
  parse(bytes) {
    const { reader, end } = read(bytes);
    if (end === INCOMPLETE) return "more";
    if (end === BROKEN) return "broken";
    return JSON.stringify([end, reader.isLast, reader.userAgent, reader.forTarget("/x", "a.test", "")]);
  },
  judge(bytes) {
    const { reader, end } = read(bytes);
    const node = readByNode(bytes);
    if (!node.isHeadIn) return `Node refuses it: ${node.error}`;
    const method = methods[node.method] ?? "";
    if (method !== reader.method || node.url !== reader.target) return `Node reads ${method} ${node.url}`;
    if (reader.body === "none" && !node.isWhole) return "Node waits for a body";
    if (reader.body === "chunked" && node.isWhole && bytes.length < end + 5) return "Node waits for no body";
    const request = { method, url: node.url, httpVersion: node.version, rawHeaders: node.rawHeaders };
    const { head, refusal } = checkRequest(request, facts, limits);
    // Its host is judged by the lane, when it looks for the site.
    if (refusal !== undefined)
      return refusal.reason === "Host grammar" ? undefined : `the compat lane refuses it: ${refusal.reason}`;
    const [theirs, ours] = [head, reader].map(({ method, target, authority, body, contentLength }) =>
      JSON.stringify([method, target, authority, body, contentLength]),
    );
    return theirs === ours ? undefined : `the compat lane reads ${theirs}, not ${ours}`;
  },
};
