/**
 * ClientHellos from parts, right or wrong, as no TLS library would write them.
 */

const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
const vector16 = (bytes: Buffer): Buffer => Buffer.concat([u16(bytes.length), bytes]);
const vector8 = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from([bytes.length]), bytes]);
export const extension = (type: number, body: Buffer): Buffer => Buffer.concat([u16(type), vector16(body)]);
export const hostName = (name: string, type = 0): Buffer =>
  Buffer.concat([Buffer.from([type]), vector16(Buffer.from(name, "latin1"))]);
export const serverName = (...names: Buffer[]): Buffer => extension(0, vector16(Buffer.concat(names)));
export const protocols = (...names: string[]): Buffer =>
  extension(16, vector16(Buffer.concat(names.map((name) => vector8(Buffer.from(name, "latin1"))))));
export const GREASE = extension(0x2a2a, Buffer.from([0]));
export const ECH_OUTER = extension(0xfe0d, Buffer.from([0, 0, 1, 0, 1, 7, 0, 0, 0, 0]));

export interface HelloParts {
  version?: number;
  session?: Buffer;
  suites?: Buffer;
  compression?: Buffer;
  extensions?: Buffer[] | undefined;
  behind?: Buffer;
}

export function body(parts: HelloParts): Buffer {
  const extensions = "extensions" in parts ? parts.extensions : [serverName(hostName("a.test"))];
  return Buffer.concat([
    u16(parts.version ?? 0x0303),
    Buffer.alloc(32, 7),
    vector8(parts.session ?? Buffer.alloc(32, 9)),
    vector16(parts.suites ?? Buffer.from([0x13, 0x01, 0x0a, 0x0a])),
    vector8(parts.compression ?? Buffer.from([0])),
    extensions === undefined ? Buffer.alloc(0) : vector16(Buffer.concat(extensions)),
    parts.behind ?? Buffer.alloc(0),
  ]);
}

export const handshake = (content: Buffer, type = 1): Buffer =>
  Buffer.concat([Buffer.from([type, 0]), u16(content.length), content]);
export const record = (content: Buffer, type = 22, version = 0x0301): Buffer =>
  Buffer.concat([Buffer.from([type]), u16(version), vector16(content)]);
export const hello = (parts: HelloParts = {}): Buffer => record(handshake(body(parts)));
