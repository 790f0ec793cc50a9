/**
 * What a ClientHello says, judged by what OpenSSL writes and by what OpenSSL reads.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import type { AddressInfo } from "node:net";
import { connect, type ConnectionOptions, createSecureContext, createServer, TLSSocket } from "node:tls";
import { Duplex } from "node:stream";
import fc from "fast-check";
import { MAX_CLIENT_HELLO, parseClientHello } from "../../src/core/client-hello.ts";
import { makeCa } from "../support/certificates.ts";
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
} from "../support/client-hello.ts";

/** What Node's own client writes first. */
async function written(options: ConnectionOptions): Promise<Buffer> {
  const wire = new PassThrough();
  const first = once(wire, "data") as Promise<[Buffer]>;
  const client = connect({
    socket: Duplex.from({ writable: wire, readable: new PassThrough() }),
    rejectUnauthorized: false,
    ...options,
  });
  client.on("error", () => {});
  const [bytes] = await first;
  client.destroy();
  return bytes;
}

test("what OpenSSL writes is read: name, protocols, old and new versions", async () => {
  for (const [options, name, names] of [
    [{ servername: "Ha.Example.org", ALPNProtocols: ["h2", "http/1.1"] }, "ha.example.org", ["h2", "http/1.1"]],
    [{ servername: "a.test", maxVersion: "TLSv1.2" }, "a.test", []],
    [{ servername: "", ALPNProtocols: ["acme-tls/1"] }, undefined, ["acme-tls/1"]],
    [{ servername: `${"a".repeat(63)}.test`, minVersion: "TLSv1.3" }, `${"a".repeat(63)}.test`, []],
  ] as const) {
    const bytes = await written({
      ...options,
      ALPNProtocols: [...(("ALPNProtocols" in options && options.ALPNProtocols) || [])],
    });
    assert.deepEqual(parseClientHello(bytes), { hello: { serverName: name, protocols: names, hasTicket: false } });
  }
});

for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const)
  test(`${maxVersion}: a client that brings a ticket is known by it, one that would only like to have one is not`, async (t) => {
    const { keyPem, certificatePem, caPem } = await (await makeCa()).issue({ names: ["a.test"] });
    const server = createServer({ key: keyPem, cert: certificatePem }, (socket) => socket.end("one")).listen(
      0,
      "127.0.0.1",
    );
    await once(server, "listening");
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const options = { servername: "a.test", maxVersion, ca: caPem };
    const client = connect({ ...options, host: "127.0.0.1", port });
    const tickets: Buffer[] = [];
    client.on("session", (ticket: Buffer) => tickets.push(ticket));
    client.resume();
    await once(client, "end");
    const [session] = tickets;
    assert.ok(session);
    assert.equal(parseClientHello(await written(options))?.hello?.hasTicket, false);
    assert.equal(parseClientHello(await written({ ...options, session }))?.hello?.hasTicket, true);
  });

test("in pieces of any size a ClientHello asks for more until its last byte, and early data behind it does not matter", () => {
  const bytes = hello({ extensions: [GREASE, serverName(hostName("a.test")), ECH_OUTER, protocols("h2")] });
  for (let length = 0; length < bytes.length; length++)
    assert.equal(parseClientHello(bytes.subarray(0, length)), undefined);
  const expected = { hello: { serverName: "a.test", protocols: ["h2"], hasTicket: false } };
  assert.deepEqual(parseClientHello(bytes), expected);
  assert.deepEqual(parseClientHello(Buffer.concat([bytes, record(Buffer.from([1]), 20), record(bytes, 23)])), expected);
});

test("over several records, even of one byte each, it is one ClientHello", () => {
  const message = handshake(body({ extensions: [protocols("h2"), serverName(hostName("a.test"))] }));
  for (const size of [1, 2, 3, 4, 5, 50, message.length - 1]) {
    const pieces: Buffer[] = [];
    for (let at = 0; at < message.length; at += size) pieces.push(record(message.subarray(at, at + size)));
    const bytes = Buffer.concat(pieces);
    assert.deepEqual(
      parseClientHello(bytes),
      { hello: { serverName: "a.test", protocols: ["h2"], hasTicket: false } },
      `${size}`,
    );
    for (let length = 0; length < bytes.length; length += 7)
      assert.equal(parseClientHello(bytes.subarray(0, length)), undefined);
  }
});

test("without extensions or without a name there is no name", () => {
  const none = { hello: { serverName: undefined, protocols: [], hasTicket: false } };
  assert.deepEqual(parseClientHello(hello({ extensions: undefined })), none);
  assert.deepEqual(parseClientHello(hello({ extensions: [] })), none);
  assert.deepEqual(parseClientHello(hello({ extensions: [GREASE] })), none);
});

const BROKEN: Record<string, Buffer> = {
  "not a handshake": Buffer.from("GET / HTTP/1.1\r\n\r\n"),
  "not a handshake, SSL 2": Buffer.from([0x80, 0x2e, 0x01, 0x03, 0x01]),
  "not a handshake, between two records": Buffer.concat([
    record(handshake(body({})).subarray(0, 9)),
    record(Buffer.from([1]), 20),
  ]),
  "record version": record(handshake(body({})), 22, 0x0401),
  "record length, none": record(Buffer.alloc(0)),
  "record length, too much": Buffer.from([22, 3, 1, 0xff, 0xff]),
  "not a ClientHello": record(handshake(body({}), 2)),
  "too short, empty": record(handshake(Buffer.alloc(0))),
  "too short, empty, with more in its record": record(Buffer.concat([handshake(Buffer.alloc(0)), body({})])),
  "too short, empty, with a record behind it": Buffer.concat([record(handshake(Buffer.alloc(0))), hello()]),
  "too short, cut": record(handshake(body({}).subarray(0, 60))),
  "too long, by its own word": record(Buffer.from([1, 1, 0, 0])),
  "bytes behind the ClientHello": record(Buffer.concat([handshake(body({})), Buffer.from([0])])),
  version: hello({ version: 0x0201 }),
  "session id": hello({ session: Buffer.alloc(33) }),
  "cipher suites, none": hello({ suites: Buffer.alloc(0) }),
  "cipher suites, half of one": hello({ suites: Buffer.alloc(3) }),
  compression: hello({ compression: Buffer.alloc(0) }),
  "extensions, more behind": hello({ behind: Buffer.from([0]) }),
  "extensions, one cut": hello({ extensions: [Buffer.from([0, 0, 0, 9, 0])] }),
  "an extension twice": hello({ extensions: [serverName(hostName("a.test")), serverName(hostName("b.test"))] }),
  "server name, two": hello({ extensions: [serverName(hostName("a.test"), hostName("b.test"))] }),
  "server name, of another kind": hello({ extensions: [serverName(hostName("a.test", 1))] }),
  "server name, empty": hello({ extensions: [serverName(hostName(""))] }),
  "server name, empty list": hello({ extensions: [extension(0, Buffer.from([0, 0]))] }),
  "server name, no body": hello({ extensions: [extension(0, Buffer.alloc(0))] }),
  "server name, with a NUL": hello({ extensions: [serverName(hostName("a.test\0.b.test"))] }),
  "server name, with a blank": hello({ extensions: [serverName(hostName("a test"))] }),
  "server name, 8-bit": hello({ extensions: [serverName(hostName("\xe9.test"))] }),
  "server name, 254 long": hello({ extensions: [serverName(hostName("a".repeat(254)))] }),
  "protocols, empty list": hello({ extensions: [extension(16, Buffer.from([0, 0]))] }),
  "protocols, empty name": hello({ extensions: [protocols("h2", "")] }),
  "protocols, cut": hello({ extensions: [extension(16, Buffer.from([0, 2, 9, 65]))] }),
};

test("what is broken is said in a word, as soon as it is there", () => {
  for (const [name, bytes] of Object.entries(BROKEN)) {
    assert.deepEqual(parseClientHello(bytes), { broken: name.split(",", 1)[0] }, name);
  }
});

test("past its bound a ClientHello that never ends is broken", () => {
  const endless = Buffer.concat(Array.from({ length: MAX_CLIENT_HELLO }, () => record(Buffer.from([0])))).subarray(6);
  const start = record(Buffer.from([1, 0, 0x3f, 0x00]));
  const bytes = Buffer.concat([start, endless]);
  assert.equal(parseClientHello(bytes.subarray(0, MAX_CLIENT_HELLO - 1)), undefined);
  assert.deepEqual(parseClientHello(bytes.subarray(0, MAX_CLIENT_HELLO)), { broken: "too long" });
});

test("what is said of the first bytes is never unsaid by those that follow", () => {
  const padded = handshake(body({ extensions: [serverName(hostName("a.test")), extension(21, Buffer.alloc(16_000))] }));
  const cutInto = (size: number): Buffer =>
    Buffer.concat(
      Array.from({ length: Math.ceil(padded.length / size) }, (_, at) =>
        record(padded.subarray(at * size, (at + 1) * size)),
      ),
    );
  const earlyData = record(Buffer.alloc(400), 23);
  const whole: Record<string, Buffer> = {
    ...BROKEN,
    "longer than the bound by its record headers alone": cutInto(100),
    "as long as the bound allows, with early data across it": Buffer.concat([cutInto(16_000), earlyData]),
    "with early data": Buffer.concat([hello(), earlyData]),
  };
  const kindOf = (bytes: Buffer): string => {
    const parsed = parseClientHello(bytes);
    if (parsed === undefined) return "more";
    return parsed.hello === undefined ? "broken" : JSON.stringify(parsed.hello);
  };
  for (const [name, bytes] of Object.entries(whole)) {
    const verdict = kindOf(bytes);
    const step = Math.ceil(bytes.length / 1_000);
    for (let length = 0; length < bytes.length; length += step) {
      const early = kindOf(bytes.subarray(0, length));
      if (early !== "more") assert.equal(early, verdict, `${name}, after ${length} of ${bytes.length} bytes`);
    }
  }
  assert.deepEqual(parseClientHello(cutInto(100)), { broken: "too long" });
});

test("any ClientHello that is built is read back, whatever else it carries and however it is cut into records", () => {
  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
  const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join("."));
  const others = fc.uniqueArray(fc.integer({ min: 17, max: 65_535 }), { maxLength: 12 });
  const parts = fc.record({
    name: fc.option(name, { nil: undefined }),
    names: fc.array(fc.string({ minLength: 1, maxLength: 20, unit: "binary-ascii" }), { minLength: 1, maxLength: 4 }),
    others,
    at: fc.nat(),
    cut: fc.integer({ min: 1, max: 600 }),
  });
  fc.assert(
    fc.property(parts, ({ name, names, others, at, cut }) => {
      const extensions = others.map((type) => extension(type, Buffer.alloc(at % 40, type)));
      extensions.splice(at % (extensions.length + 1), 0, protocols(...names));
      if (name !== undefined)
        extensions.splice(at % (extensions.length + 1), 0, serverName(hostName(name.toUpperCase())));
      const message = handshake(body({ extensions }));
      const pieces: Buffer[] = [];
      for (let from = 0; from < message.length; from += cut) pieces.push(record(message.subarray(from, from + cut)));
      const hasTicket = others.includes(41) || (others.includes(35) && at % 40 > 0);
      assert.deepEqual(parseClientHello(Buffer.concat(pieces)), {
        hello: { serverName: name, protocols: names, hasTicket },
      });
    }),
    { numRuns: 300 },
  );
});

test("OpenSSL reads the same name and protocols", async () => {
  const context = createSecureContext();
  for (const extensions of [
    [serverName(hostName("A.Test")), protocols("h2", "x")],
    [GREASE, protocols("http/1.1"), ECH_OUTER, serverName(hostName("b.test"))],
  ]) {
    const bytes = hello({ extensions });
    const wire = new PassThrough();
    const socket = new TLSSocket(Duplex.from({ readable: wire, writable: new PassThrough() }), {
      isServer: true,
      secureContext: context,
      SNICallback: (name, done) => {
        seen.push(name.toLowerCase());
        done(null, context);
      },
    });
    const seen: string[] = [];
    socket.on("error", () => {});
    const over = new Promise((resolve) => socket.once("_tlsError", resolve).once("close", resolve));
    wire.write(bytes);
    await over;
    socket.destroy();
    assert.deepEqual(seen, [parseClientHello(bytes)?.hello?.serverName]);
  }
});
