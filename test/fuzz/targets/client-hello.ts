/**
 * The ClientHello: a name and protocols that we read are those that OpenSSL reads, when it reads any.
 */
import { Duplex, PassThrough } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { createSecureContext, TLSSocket } from "node:tls";
import { parseClientHello } from "../../../src/core/client-hello.ts";
import {
  body,
  ECH_OUTER,
  extension,
  GREASE,
  handshake,
  hello,
  hostName,
  protocols,
  record,
  serverName,
} from "../../support/client-hello.ts";
import type { Random } from "../mutate.ts";
import type { FuzzTarget } from "../run.ts";

const NAMES = [
  "a.test",
  "A.Test",
  "b.test",
  "a.test.",
  "a.test\0b",
  "-",
  "",
  "1.2.3.4",
  "xn--bcher-kva.test",
  "x".repeat(253),
  "x".repeat(254),
  "a..b",
  "a_b.test",
  "*.test",
  "a b",
];
const PROTOCOLS = ["h2", "http/1.1", "acme-tls/1", "", "x".repeat(255), "\0"];

/** Correct lengths all the way down, but for one in eight; what is inside is anything. */
function generate(random: Random): Buffer {
  const name = (): Buffer => hostName(random.pick(NAMES), random.isOneIn(12) ? random.below(3) : 0);
  const names = (): Buffer => (random.isOneIn(12) ? serverName(name(), name()) : serverName(name()));
  const alpn = (): Buffer => protocols(...Array.from({ length: random.below(4) }, () => random.pick(PROTOCOLS)));
  const other = (): Buffer =>
    extension(
      random.pick([1, 5, 10, 11, 13, 43, 45, 51, 65_281, 0x2a2a, random.below(65_536)]),
      Buffer.alloc(random.below(30), random.below(256)),
    );
  const extensions = Array.from({ length: random.below(7) }, () =>
    random.pick([names, alpn, other, () => GREASE, () => ECH_OUTER])(),
  );
  const message = handshake(
    body({
      extensions: random.isOneIn(20) ? undefined : extensions,
      version: random.isOneIn(8) ? random.below(65_536) : 0x0303,
      session: Buffer.alloc(random.pick([0, 8, 32, 32, 33]), 1),
      suites: random.isOneIn(10) ? Buffer.alloc(random.below(9), 0x13) : Buffer.from([0x13, 1, 0x13, 2, 0xc0, 0x2b]),
      compression: Buffer.alloc(random.isOneIn(20) ? 0 : 1),
      behind: Buffer.alloc(random.isOneIn(20) ? random.below(4) : 0),
    }),
    random.isOneIn(30) ? random.below(256) : 1,
  );
  const pieces: Buffer[] = [];
  const most = random.isOneIn(3) ? 1 + random.below(200) : 16_384;
  for (let at = 0; at < message.length; at += most)
    pieces.push(record(message.subarray(at, at + most), random.isOneIn(60) ? random.below(256) : 22));
  const bytes = Buffer.concat(pieces);
  if (random.isOneIn(8)) bytes[random.below(bytes.length)] = random.below(256);
  return bytes;
}

/** OpenSSL asks in the turn it gets the bytes. On a busy machine a question may come too late, and is not judged then. */
const PATIENCE_MS = 20;

let context: ReturnType<typeof createSecureContext> | undefined;

/** What OpenSSL asks its server for before it fails for want of a certificate. */
async function askOpenSsl(bytes: Buffer): Promise<{ name: string | undefined; protocols: string[] | undefined }> {
  const heard: { name: string | undefined; protocols: string[] | undefined } = {
    name: undefined,
    protocols: undefined,
  };
  const wire = new PassThrough();
  const prepared = (context ??= createSecureContext());
  const socket = new TLSSocket(Duplex.from({ readable: wire, writable: new PassThrough() }), {
    isServer: true,
    secureContext: prepared,
    SNICallback: (name, done) => {
      heard.name = name.toLowerCase();
      done(null, prepared);
    },
    ALPNCallback: ({ protocols }) => {
      heard.protocols = protocols;
      return undefined;
    },
  });
  socket.on("error", () => {});
  const over = new AbortController();
  for (const event of ["_tlsError", "close", "end"]) socket.once(event, () => over.abort());
  wire.end(bytes);
  // It may as well ask for a second ClientHello and wait.
  await wait(PATIENCE_MS, undefined, { signal: over.signal }).catch(() => {});
  socket.destroy();
  return heard;
}

export const clientHello: FuzzTarget = {
  name: "client-hello",
  seeds: [
    hello(),
    hello({ extensions: undefined }),
    hello({ extensions: [GREASE, serverName(hostName("a.test")), ECH_OUTER, protocols("h2", "http/1.1")] }),
  ],
  dictionary: [
    GREASE,
    ECH_OUTER,
    serverName(hostName("b.test")),
    protocols("h2"),
    record(Buffer.from([1])),
    Buffer.from([0, 0]),
    Buffer.from([22, 3, 1]),
  ],
  generate,
  parse(bytes) {
    const parsed = parseClientHello(bytes);
    if (parsed === undefined) return "more";
    return parsed.hello === undefined ? `broken ${parsed.broken}` : JSON.stringify(parsed.hello);
  },
  async judgeSlowly(bytes) {
    const ours = parseClientHello(bytes)?.hello;
    const theirs = await askOpenSsl(bytes);
    if (theirs.name !== undefined && theirs.name !== ours?.serverName)
      return `OpenSSL reads the name ${JSON.stringify(theirs.name)}`;
    if (theirs.protocols === undefined) return undefined;
    // Node gives them as text; a NUL or 8-bit byte in one is not worth a dispute about encodings.
    return theirs.protocols.length === ours?.protocols.length
      ? undefined
      : `OpenSSL reads ${theirs.protocols.length} protocols`;
  },
};
