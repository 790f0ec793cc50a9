/**
 * What a PROXY header says, by the examples and rules of the specification, by HAProxy itself, and by property.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { parseProxyHeader } from "../../src/core/proxy-protocol-read.ts";
import { eventually } from "../support/eventually.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { needs } from "../support/programs.ts";
import { freePort } from "../support/target.ts";

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const LOCALS = Buffer.from([127, 0, 0, 1, 10, 0, 0, 9, 0x04, 0xd2, 0x01, 0xbb]);
const BEHIND = Buffer.from("GET / HTTP/1.1\r\n");

function v2(command: number, family: number, content: Buffer, length = content.length): Buffer {
  const head = Buffer.from([command, family, length >> 8, length & 255]);
  return Buffer.concat([SIGNATURE, head, content]);
}
const tlv = (type: number, value: Buffer): Buffer =>
  Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 255]), value]);
const line = (text: string): Buffer => Buffer.from(text, "latin1");

const from = (address: string, port: number) => ({ address, port });

test("a line names source and destination, and the connection begins behind it", () => {
  for (const [text, source, destination] of [
    ["PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", from("192.168.0.1", 56_324), from("192.168.0.11", 443)],
    [
      "PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n",
      from("255.255.255.255", 65_535),
      from("255.255.255.255", 0),
    ],
    ["PROXY TCP6 2001:DB8:0::1 ::1 1 2\r\n", from("2001:db8::1", 1), from("::1", 2)],
    ["PROXY UNKNOWN\r\n", undefined, undefined],
    ["PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", undefined, undefined],
  ] as const) {
    const bytes = Buffer.concat([line(text), BEHIND]);
    assert.deepEqual(parseProxyHeader(bytes), { facts: { version: 1, source, destination }, size: text.length });
    for (let length = 0; length < text.length; length++)
      assert.equal(parseProxyHeader(bytes.subarray(0, length)), undefined);
  }
});

test("the longest line that can be is taken, a longer one never waited for", () => {
  const longest = `PROXY UNKNOWN ${"ffff:".repeat(7)}ffff ${"ffff:".repeat(7)}ffff 65535 65535\r\n`;
  assert.equal(longest.length, 107);
  assert.equal(parseProxyHeader(line(longest))?.facts?.version, 1);
  assert.equal(parseProxyHeader(line(`PROXY UNKNOWN ${"x".repeat(91)}\r\n`))?.facts?.version, 1);
  assert.equal(parseProxyHeader(line(`PROXY UNKNOWN ${"x".repeat(92)}`)), undefined);
  assert.deepEqual(parseProxyHeader(line(`PROXY UNKNOWN ${"x".repeat(93)}`)), { broken: "line too long" });
  assert.deepEqual(parseProxyHeader(line(`PROXY UNKNOWN ${"x".repeat(92)}\r\n`)), { broken: "line too long" });
});

test("a binary header names source and destination, whatever other facts it carries", () => {
  const six = Buffer.concat([
    Buffer.from("20010db8000000000000000000000001", "hex"),
    Buffer.from("00000000000000000000ffff0a000009", "hex"),
    Buffer.from([0, 1, 0, 2]),
  ]);
  const names = tlv(0x02, line("a.test"));
  for (const [bytes, source, destination] of [
    [v2(0x21, 0x11, LOCALS), from("127.0.0.1", 1_234), from("10.0.0.9", 443)],
    [v2(0x21, 0x12, LOCALS), from("127.0.0.1", 1_234), from("10.0.0.9", 443)],
    [v2(0x21, 0x21, six), from("2001:db8::1", 1), from("::ffff:10.0.0.9", 2)],
    [
      v2(0x21, 0x11, Buffer.concat([LOCALS, names, tlv(0x04, Buffer.alloc(7)), tlv(0xe0, Buffer.alloc(0))])),
      from("127.0.0.1", 1_234),
      from("10.0.0.9", 443),
    ],
    [v2(0x21, 0x31, Buffer.alloc(216, "/")), undefined, undefined],
    [v2(0x21, 0x00, names), undefined, undefined],
    // A health check; its family and addresses are to be ignored.
    [v2(0x20, 0x00, Buffer.alloc(0)), undefined, undefined],
    [v2(0x20, 0x11, LOCALS), undefined, undefined],
    [v2(0x20, 0x77, Buffer.alloc(3, 9)), undefined, undefined],
  ] as const) {
    const whole = Buffer.concat([bytes, BEHIND]);
    assert.deepEqual(parseProxyHeader(whole), { facts: { version: 2, source, destination }, size: bytes.length });
    for (let length = 0; length < bytes.length; length++)
      assert.equal(parseProxyHeader(whole.subarray(0, length)), undefined, `${length}`);
  }
});

const BROKEN: readonly [string, Buffer][] = [
  ["no PROXY header", line("G")],
  ["no PROXY header", line("proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n")],
  ["no PROXY header", line("PROXYTCP4 1.1.1.1 2.2.2.2 1 2\r\n")],
  ["no PROXY header", Buffer.from("\r\n\r\n\0\r\nQUIT\r", "latin1")],
  ["no PROXY header", Buffer.from([22, 3, 1])],
  ["family", line("PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n")],
  ["family", line("PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n")],
  ["family", line("PROXY \r\n")],
  ["address", line("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n")],
  ["address", line("PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n")],
  ["address", line("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n")],
  ["address", line("PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n")],
  ["address", line("PROXY TCP4 ::1 ::1 1 2\r\n")],
  ["address", line("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n")],
  ["address", line("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n")],
  ["port", line("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\nX\r\n")],
  ["port", line("PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n")],
  ["port", line("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n")],
  ["port", line("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n")],
  ["port", line("PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n")],
  ["version", v2(0x11, 0x11, LOCALS)],
  ["command", v2(0x22, 0x11, LOCALS)],
  ["family", v2(0x21, 0x13, LOCALS)],
  ["address", v2(0x21, 0x11, LOCALS.subarray(1))],
  ["address", v2(0x21, 0x21, LOCALS)],
  ["header too long", v2(0x21, 0x11, LOCALS, 0xffff)],
  ["TLV", v2(0x21, 0x11, Buffer.concat([LOCALS, Buffer.from([1])]))],
  ["TLV", v2(0x21, 0x11, Buffer.concat([LOCALS, Buffer.from([1, 0, 2, 0])]))],
  ["checksum", v2(0x21, 0x11, Buffer.concat([LOCALS, tlv(3, Buffer.alloc(4))]))],
  ["checksum", v2(0x21, 0x11, Buffer.concat([LOCALS, tlv(3, Buffer.alloc(3))]))],
];

test("what is broken is said in a word", () => {
  for (const [word, bytes] of BROKEN)
    assert.deepEqual(parseProxyHeader(bytes), { broken: word }, JSON.stringify(bytes.toString("latin1")));
});

test("any addresses and ports that are written are read back", () => {
  const port = fc.integer({ min: 0, max: 65_535 });
  const facts = fc.record({ isSix: fc.boolean(), a: fc.ipV4(), b: fc.ipV4(), six: fc.ipV6(), p: port, q: port });
  fc.assert(
    fc.property(facts, ({ isSix, a, b, six, p, q }) => {
      const [source, destination] = isSix ? [six, "::1"] : [a, b];
      const bytes = line(`PROXY TCP${isSix ? 6 : 4} ${source} ${destination} ${p} ${q}\r\n`);
      const read = parseProxyHeader(bytes);
      assert.ok(read?.facts !== undefined);
      assert.equal(read.facts.source?.port, p);
      assert.deepEqual(read.facts.destination, { address: destination, port: q });
      if (!isSix) assert.equal(read.facts.source?.address, a);
      assert.equal(read.size, bytes.length);
    }),
    { numRuns: 300 },
  );
});

for (const [option, version] of [
  ["send-proxy", 1],
  ["send-proxy-v2", 2],
  ["send-proxy-v2 proxy-v2-options crc32c,unique-id,authority", 2],
  ["send-proxy-v2-ssl-cn", 2],
] as const) {
  test(`what HAProxy writes with ${option} is read`, { skip: needs("haproxy") }, async (t) => {
    const heard: Buffer[] = [];
    const sockets = new Set<Socket>();
    const target = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("data", (chunk: Buffer) => heard.push(chunk));
    });
    target.listen(0, "127.0.0.1");
    await once(target, "listening");
    const port = await freePort();
    const file = join(await temporaryFolder(t), "haproxy.cfg");
    await writeFile(
      file,
      `defaults
  mode tcp
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:${port}
  unique-id-format %rt
  default_backend b
backend b
  server s 127.0.0.1:${(target.address() as AddressInfo).port} ${option}
`,
    );
    const haproxy = spawn("haproxy", ["-db", "-f", file], { stdio: "ignore" });
    const ended = once(haproxy, "close");
    t.after(async () => {
      haproxy.kill("SIGKILL");
      await ended;
      for (const socket of sockets) socket.destroy();
      target.close();
    });
    let client = connect(port, "127.0.0.1");
    client.on("error", () => {});
    t.after(() => client.destroy());
    await eventually("HAProxy takes connections", () => {
      if (client.destroyed && haproxy.exitCode === null) {
        client = connect(port, "127.0.0.1");
        client.on("error", () => {});
      }
      return client.readyState === "open";
    });
    client.write("hello");
    await eventually("the header and what is behind it", () =>
      Buffer.concat(heard).toString("latin1").endsWith("hello"),
    );
    const bytes = Buffer.concat(heard);
    assert.deepEqual(parseProxyHeader(bytes), {
      facts: { version, source: from("127.0.0.1", client.localPort ?? 0), destination: from("127.0.0.1", port) },
      size: bytes.length - 5,
    });
  });
}
