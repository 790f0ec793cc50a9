/**
 * The PROXY header: what we take says, read by a second pair of eyes, the same; nothing behind it is touched.
 */
import { parseProxyHeader } from "../../../src/core/proxy-protocol-read.ts";
import type { Random } from "../mutate.ts";
import type { FuzzTarget } from "../run.ts";

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

function generate(random: Random): Buffer {
  const width = random.pick([12, 12, 36, 36, 216, 0]);
  const family = random.isOneIn(10) ? random.below(256) : ({ 12: 0x11, 36: 0x21, 216: 0x31, 0: 0 }[width] ?? 0);
  const pieces = [Buffer.from(Array.from({ length: width }, () => random.below(256)))];
  for (let left = random.below(4); left > 0; left--) {
    const length = random.below(40);
    pieces.push(
      Buffer.from([random.isOneIn(10) ? 3 : random.below(256), 0, random.isOneIn(15) ? length + 1 : length]),
      Buffer.alloc(length, 7),
    );
  }
  const content = Buffer.concat(pieces);
  const length = random.isOneIn(12) ? random.below(65_536) : content.length;
  const command = random.isOneIn(10) ? random.below(256) : random.pick([0x20, 0x21, 0x21, 0x21]);
  const head = Buffer.from([command, family, length >> 8, length & 255]);
  return Buffer.concat([SIGNATURE, head, content, Buffer.from("GET / HTTP/1.1\r\n")]);
}

export const proxyProtocol: FuzzTarget = {
  name: "proxy-protocol",
  seeds: [
    "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n",
    "PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
    "PROXY TCP6 ::ffff:1.2.3.4 fe80::1 65535 0\r\n",
    "PROXY UNKNOWN\r\n",
    `${SIGNATURE.toString("latin1")}\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x04\xd2\x01\xbb`,
    `${SIGNATURE.toString("latin1")}\x20\0\0\0`,
  ].map((text) => Buffer.from(text, "latin1")),
  dictionary: [
    SIGNATURE,
    ...["PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN", " ", "\r\n", "\n", "1.1.1.1 ", "::1 ", "0", "65536", "%eth0", "\t"].map(
      (text) => Buffer.from(text, "latin1"),
    ),
  ],
  generate,
  parse(bytes) {
    const parsed = parseProxyHeader(bytes);
    if (parsed === undefined) return "more";
    return parsed.facts === undefined ? `broken ${parsed.broken}` : JSON.stringify([parsed.size, parsed.facts]);
  },
  judge(bytes) {
    const parsed = parseProxyHeader(bytes);
    if (parsed?.facts === undefined) return "not the same twice";
    const { facts, size } = parsed;
    const text = bytes.toString("latin1", 0, size);
    if (facts.version === 1) {
      if (!text.endsWith("\r\n") || text.indexOf("\r\n") !== size - 2 || size > 107) return "not one line";
      if (facts.source === undefined) return text.startsWith("PROXY UNKNOWN") ? undefined : "an address was lost";
      const line = /^PROXY TCP[46] ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (\d+) (\d+)\r\n$/.exec(text);
      if (line === null) return "not by the grammar";
      return `${facts.source.port} ${facts.destination?.port}` === `${line[3]} ${line[4]}` ? undefined : "ports";
    }
    if (size !== 16 + bytes.readUInt16BE(14)) return "size";
    if (facts.source === undefined) return undefined;
    const at = bytes[13] === 0x11 || bytes[13] === 0x12 ? 24 : 48;
    return facts.source.port === bytes.readUInt16BE(at) ? undefined : "ports";
  },
};
