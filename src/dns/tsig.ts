/**
 * Who says so? Signatures between us and one name server.
 * Owns: TSIG (RFC 8945): signing a request, and checking that the answer comes from who has the key.
 * Never: sends.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Clock } from "../core/time.ts";
import { CLASSES, RECORD_TYPES, decodeMessage, decodeName, encodeName, encodeRecord } from "./message.ts";

/** RFC 8945 §6; the two that are must, and one that some servers are set to. MD5 and SHA-1 are not offered. */
export const TSIG_ALGORITHMS = ["hmac-sha256", "hmac-sha384", "hmac-sha512"] as const;

export interface TsigKey {
  name: string;
  algorithm: (typeof TSIG_ALGORITHMS)[number];
  secret: Buffer;
}

/** Seconds: what RFC 8945 §10 recommends. */
const FUDGE = 300;

export interface SignedRequest {
  bytes: Buffer;
  mac: Buffer;
}

/** Adds the signature as the last record (RFC 8945 §5.1). */
export function signRequest(message: Buffer, key: TsigKey, clock: Clock): SignedRequest {
  const time = Math.floor(clock.now() / 1_000);
  const mac = hmac(key, [message, variables(key, time, 0, Buffer.alloc(0))]);
  const record = encodeRecord({
    name: key.name,
    type: RECORD_TYPES.TSIG,
    class: CLASSES.ANY,
    ttl: 0,
    data: Buffer.concat([
      encodeName(key.algorithm),
      timeBytes(time),
      word(mac.length),
      mac,
      message.subarray(0, 2), // original ID
      word(0), // error
      word(0), // no other data
    ]),
  });
  const bytes = Buffer.concat([message, record]);
  bytes.writeUInt16BE(message.readUInt16BE(10) + 1, 10);
  return { bytes, mac };
}

/** A TSIG error of the server, such as BADTIME, that a person can act on. */
const TSIG_ERRORS: Readonly<Record<number, string>> = {
  16: "BADSIG: the key's secret is another one there",
  17: "BADKEY: it does not know the key's name, or not with this algorithm",
  18: "BADTIME: its clock and this machine's are more than five minutes apart",
  22: "BADTRUNC: it wants a longer signature",
};

/**
 * Undefined when the answer is signed as it must be; else what is wrong with it. An answer that says why it could not
 * sign (BADKEY, BADSIG) has no signature to check, and is never success.
 */
export function whyNotBelieved(answer: Buffer, request: SignedRequest, key: TsigKey, clock: Clock): string | undefined {
  const { additional, lastRecordAt } = decodeMessage(answer);
  const record = additional.at(-1);
  if (record?.type !== RECORD_TYPES.TSIG) return "the answer is not signed";
  const { next } = decodeName(record.data, 0);
  const time = record.data.readUIntBE(next, 6);
  const macLength = record.data.readUInt16BE(next + 8);
  const mac = record.data.subarray(next + 10, next + 10 + macLength);
  const rest = next + 10 + macLength;
  const error = record.data.readUInt16BE(rest + 2);
  if (error !== 0) return TSIG_ERRORS[error] ?? `TSIG error ${error}`;
  const other = record.data.subarray(rest + 6);
  const unsigned = Buffer.from(answer.subarray(0, lastRecordAt));
  unsigned.writeUInt16BE(unsigned.readUInt16BE(10) - 1, 10);
  record.data.copy(unsigned, 0, rest, rest + 2); // the original ID
  const expected = hmac(key, [word(request.mac.length), request.mac, unsigned, variables(key, time, error, other)]);
  if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) return "the answer's signature is wrong";
  const skew = Math.abs(clock.now() / 1_000 - time);
  return skew > FUDGE ? `the answer was signed ${Math.round(skew)} s from now` : undefined;
}

/** RFC 8945 §4.3.3. */
function variables(key: TsigKey, time: number, error: number, other: Buffer): Buffer {
  const fixed = Buffer.alloc(6);
  fixed.writeUInt16BE(CLASSES.ANY, 0); // then a TTL of zero
  return Buffer.concat([
    encodeName(key.name),
    fixed,
    encodeName(key.algorithm),
    timeBytes(time),
    word(error),
    word(other.length),
    other,
  ]);
}

function hmac(key: TsigKey, parts: readonly Buffer[]): Buffer {
  const digest = createHmac(key.algorithm.slice("hmac-".length), key.secret);
  for (const part of parts) digest.update(part);
  return digest.digest();
}

/** 48 bits of seconds, then the fudge. */
function timeBytes(seconds: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUIntBE(seconds, 0, 6);
  bytes.writeUInt16BE(FUDGE, 6);
  return bytes;
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
