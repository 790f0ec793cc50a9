/**
 * An HTTP/2 client that may be as wrong as a test wants: frames by hand, header fields as literals without indexing.
 */
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;
export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4 } as const;
export const CODE = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  ENHANCE_YOUR_CALM: 11,
} as const;

const NAMES = Object.entries(CODE);
const codeName = (code: number): string => NAMES.find(([, value]) => value === code)?.[0] ?? String(code);

export interface Frame {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

export type Fields = readonly (readonly [string, string])[];

/** RFC 7541 §5.1: an integer behind a prefix of `bits` bits. */
function integer(value: number, bits: number, first: number): number[] {
  const most = 2 ** bits - 1;
  if (value < most) return [first | value];
  const bytes = [first | most];
  let rest = value - most;
  while (rest >= 128) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

/** Literal header field without indexing, new name, no Huffman (RFC 7541 §6.2.2). Text is latin1 or bytes. */
export function headerBlock(fields: Fields, encoding: BufferEncoding = "utf8"): Buffer {
  const pieces: Buffer[] = [];
  for (const [name, value] of fields) {
    pieces.push(Buffer.from([0]));
    for (const text of [name, value]) {
      const bytes = Buffer.from(text, encoding);
      pieces.push(Buffer.from(integer(bytes.length, 7, 0)), bytes);
    }
  }
  return Buffer.concat(pieces);
}

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** The fields of an ordinary request. */
export const request = (changes: Record<string, string> = {}): [string, string][] =>
  Object.entries({ ":method": "GET", ":scheme": "https", ":authority": "a.test", ":path": "/", ...changes });

export class RawH2 {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  isClosed = false;
  #buffer = Buffer.alloc(0);
  #watchers = new Set<() => void>();
  #autoAck = true;

  constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("close", () => {
      this.isClosed = true;
      this.#tell();
    });
  }

  static async open(
    port: number,
    options: { servername?: string; settings?: [number, number][]; preface?: boolean } = {},
  ): Promise<RawH2> {
    const socket = connect({
      port,
      host: "127.0.0.1",
      servername: options.servername ?? "a.test",
      ALPNProtocols: ["h2"],
      rejectUnauthorized: false,
    });
    const client = new RawH2(socket);
    await once(socket, "secureConnect");
    if (options.preface !== false) {
      const settings = Buffer.concat(
        (options.settings ?? []).map(([id, value]) => Buffer.concat([Buffer.from([0, id]), uint32(value)])),
      );
      client.write(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(FRAME.SETTINGS, 0, 0, settings));
    }
    return client;
  }

  write(...bytes: Buffer[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  headers(stream: number, fields: Fields, flags: number = FLAG.END_HEADERS | FLAG.END_STREAM): void {
    this.write(this.headerFrames(stream, fields, flags));
  }

  /** Split into CONTINUATION frames where 16,384 bytes are not enough. */
  headerFrames(stream: number, fields: Fields, flags: number): Buffer {
    const block = headerBlock(fields);
    if (block.length <= 16_384) return frame(FRAME.HEADERS, flags, stream, block);
    const pieces: Buffer[] = [];
    for (let at = 0; at < block.length; at += 16_384) {
      const last = at + 16_384 >= block.length ? flags & FLAG.END_HEADERS : 0;
      const piece = block.subarray(at, at + 16_384);
      if (at === 0) pieces.push(frame(FRAME.HEADERS, flags & ~FLAG.END_HEADERS, stream, piece));
      else pieces.push(frame(FRAME.CONTINUATION, last, stream, piece));
    }
    return Buffer.concat(pieces);
  }

  data(stream: number, bytes: string | Buffer, flags: number = FLAG.END_STREAM): void {
    this.write(frame(FRAME.DATA, flags, stream, Buffer.from(bytes as string)));
  }

  reset(stream: number, code: number = CODE.CANCEL): void {
    this.write(frame(FRAME.RST_STREAM, 0, stream, uint32(code)));
  }

  window(stream: number, bytes: number): void {
    this.write(frame(FRAME.WINDOW_UPDATE, 0, stream, uint32(bytes)));
  }

  #take(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    while (this.#buffer.length >= 9) {
      const length = this.#buffer.readUIntBE(0, 3);
      if (this.#buffer.length < 9 + length) break;
      const [, , , type = 0, flags = 0] = this.#buffer;
      const got = {
        type,
        flags,
        stream: this.#buffer.readUInt32BE(5) & 0x7fffffff,
        payload: this.#buffer.subarray(9, 9 + length),
      };
      this.#buffer = this.#buffer.subarray(9 + length);
      this.frames.push(got);
      if (this.#autoAck && type === FRAME.SETTINGS && (flags & FLAG.ACK) === 0)
        this.write(frame(FRAME.SETTINGS, FLAG.ACK, 0));
    }
    this.#tell();
  }

  #tell(): void {
    for (const watcher of this.#watchers) watcher();
  }

  /** Resolves when `holds` does, looking again at every frame; false at the deadline. */
  async until(holds: () => boolean, withinMs = 30_000): Promise<boolean> {
    if (holds()) return true;
    return await new Promise<boolean>((resolve) => {
      const settle = (value: boolean): void => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve(value);
      };
      const look = (): void => {
        if (holds()) settle(true);
      };
      const timer = setTimeout(() => settle(false), withinMs);
      this.#watchers.add(look);
    });
  }

  of(stream: number, type: number): Frame[] {
    return this.frames.filter((one) => one.stream === stream && one.type === type);
  }

  /** Does the stream, or the connection, have its end? */
  hasEnded(stream: number): boolean {
    if (this.isClosed || this.frames.some((one) => one.type === FRAME.GOAWAY && one.payload.readUInt32BE(4) !== 0))
      return true;
    return this.frames.some(
      (one) =>
        one.stream === stream &&
        (one.type === FRAME.RST_STREAM ||
          ((one.type === FRAME.DATA || one.type === FRAME.HEADERS) && (one.flags & FLAG.END_STREAM) !== 0)),
    );
  }

  /**
   * How a stream ended, in a few words: `200 END`, `RST PROTOCOL_ERROR`, `200 RST INTERNAL_ERROR`, `GOAWAY …`,
   * `closed`. The status is read from the block, which Node writes indexed or as a literal with a plain value.
   */
  async outcome(stream: number, withinMs = 30_000): Promise<string> {
    await this.until(() => this.hasEnded(stream), withinMs);
    const words: string[] = [];
    // Interim answers come first; what counts is the last block with a :status.
    const status = this.of(stream, FRAME.HEADERS)
      .map(({ payload }) => statusOf(payload))
      .filter((one) => one !== "")
      .at(-1);
    if (status !== undefined) words.push(status);
    const reset = this.of(stream, FRAME.RST_STREAM)[0];
    const goaway = this.frames.find((one) => one.type === FRAME.GOAWAY && one.payload.readUInt32BE(4) !== 0);
    const ended = this.frames.some(
      (one) => one.stream === stream && one.type <= 1 && (one.flags & FLAG.END_STREAM) !== 0,
    );
    if (ended) words.push("END");
    else if (reset !== undefined) words.push(`RST ${codeName(reset.payload.readUInt32BE(0))}`);
    else if (goaway !== undefined) words.push(`GOAWAY ${codeName(goaway.payload.readUInt32BE(4))}`);
    else words.push(this.isClosed ? "closed" : "open");
    return words.join(" ");
  }

  body(stream: number): string {
    return Buffer.concat(this.of(stream, FRAME.DATA).map(({ payload }) => payload)).toString();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** Static table 8 to 14 (RFC 7541 appendix A), or a literal whose name is :status. */
const STATIC = ["200", "204", "206", "304", "400", "404", "500"];
const HUFFMAN_DIGITS = [
  "00000",
  "00001",
  "00010",
  "011001",
  "011010",
  "011011",
  "011100",
  "011101",
  "011110",
  "011111",
];

function statusOf(block: Buffer): string {
  const first = block[0] ?? 0;
  if (first >= 0x88 && first <= 0x8e) return STATIC[first - 0x88] ?? "";
  // Literal with name index 8 (0x48, 0x08 or 0x18), value of three digits, plain or Huffman coded.
  if (first !== 0x48 && first !== 0x08 && first !== 0x18) return "";
  const length = (block[1] ?? 0) & 127;
  const value = block.subarray(2, 2 + length);
  if (((block[1] ?? 0) & 128) === 0) return value.toString("latin1");
  let bits = [...value].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let text = "";
  while (text.length < 3) {
    const digit = HUFFMAN_DIGITS.findIndex((code) => bits.startsWith(code));
    if (digit < 0) return "";
    text += digit;
    bits = bits.slice(HUFFMAN_DIGITS[digit]?.length ?? 0);
  }
  return text;
}
