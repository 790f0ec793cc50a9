/**
 * What does this DNS server say?
 * Owns: one exchange with one server: UDP first, TCP for what does not fit, deadlines, and belief only in answers that fit.
 * Never: caches, chooses a server, or repeats but for a lost packet.
 *
 * node:dns was the loser: its resolver follows aliases and caches on its own, cannot be told to ask a zone's name server
 * without recursion, and cannot send an update.
 */
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import {
  BadMessage,
  type DnsMessage,
  type RecordType,
  RECORD_TYPES,
  OPCODE_QUERY,
  decodeMessage,
  encodeMessage,
  encodeQuestion,
} from "./message.ts";

export interface DnsServer {
  /** An address. */
  host: string;
  port: number;
}

/** A packet that is lost is lost after two seconds at the latest; three tries of them are what resolvers do. */
const UDP_TRY_MS = 2_000;
const UDP_TRIES = 3;
const TCP_WITHIN_MS = 10_000;

export interface Question {
  name: string;
  type: RecordType;
  /** Ask a resolver (true), or the one who knows (false). */
  recurse: boolean;
}

/** @throws BadMessage or the network's error when nothing sensible came in time; the signal's reason */
export async function askDns(server: DnsServer, question: Question, signal: AbortSignal): Promise<DnsMessage> {
  const id = randomInt(0x1_0000);
  const query = encodeMessage({
    id,
    opcode: OPCODE_QUERY,
    recursionDesired: question.recurse,
    questions: [encodeQuestion(question.name, RECORD_TYPES[question.type])],
  });
  const fits = (message: DnsMessage): boolean => {
    const [asked] = message.questions;
    const isOurs = asked?.name === question.name.toLowerCase().replace(/\.$/, "");
    return message.id === id && message.isResponse && isOurs && asked?.type === RECORD_TYPES[question.type];
  };
  for (let tries = 1; ; tries++) {
    try {
      const { message } = await overUdp(server, query, fits, signal);
      if (!message.isTruncated) return message;
      return decodeMessage(await overTcp(server, query, signal));
    } catch (error) {
      signal.throwIfAborted();
      if (tries === UDP_TRIES) throw error;
    }
  }
}

/**
 * The answer to bytes made elsewhere, such as a signed update. A zone transfer's size and no packet's, so TCP.
 *
 * @throws the network's error, or BadMessage
 */
export function overTcp(server: DnsServer, query: Buffer, signal: AbortSignal): Promise<Buffer> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.host, port: server.port });
    const chunks: Buffer[] = [];
    const finish = (end: () => void): void => {
      clearTimeout(late);
      signal.removeEventListener("abort", abort);
      socket.destroy();
      end();
    };
    const fail = (error: Error): void => finish(() => reject(error));
    const abort = (): void => fail(asError(signal.reason));
    const late = setTimeout(() => fail(new Error(`no answer within ${TCP_WITHIN_MS / 1_000} s`)), TCP_WITHIN_MS);
    signal.addEventListener("abort", abort, { once: true });
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("the connection was closed")));
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      const whole = Buffer.concat(chunks); // two bytes of length first (RFC 1035 §4.2.2), so at most 64 KB
      if (whole.length < 2 || whole.length < 2 + whole.readUInt16BE(0)) return;
      const answer = whole.subarray(2, 2 + whole.readUInt16BE(0));
      if (answer.length < 2 || answer.readUInt16BE(0) !== query.readUInt16BE(0)) {
        fail(new BadMessage("it answers another question"));
        return;
      }
      finish(() => resolve(answer));
    });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.write(Buffer.concat([length, query]));
  });
}

/** From a port of its own each time, so that a forger has to guess 32 bits (RFC 5452 §9.2); what does not fit is no answer. */
function overUdp(
  server: DnsServer,
  query: Buffer,
  fits: (message: DnsMessage) => boolean,
  signal: AbortSignal,
): Promise<{ message: DnsMessage }> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(server.host) ? "udp6" : "udp4");
    const finish = (end: () => void): void => {
      clearTimeout(late);
      signal.removeEventListener("abort", abort);
      socket.removeAllListeners("message");
      socket.close();
      end();
    };
    let isOver = false;
    const once = (end: () => void): void => {
      if (isOver) return;
      isOver = true;
      finish(end);
    };
    const abort = (): void => once(() => reject(asError(signal.reason)));
    const late = setTimeout(() => once(() => reject(new Error("no answer"))), UDP_TRY_MS);
    signal.addEventListener("abort", abort, { once: true });
    socket.on("error", (error) => once(() => reject(error)));
    socket.on("message", (bytes, from) => {
      if (from.port !== server.port) return;
      try {
        const message = decodeMessage(bytes);
        if (fits(message)) once(() => resolve({ message }));
      } catch {
        // A stranger's packet; the answer may still come.
      }
    });
    // Not as the callback of connect: that one is called when there is no route, too, and a send would then throw.
    socket.once("connect", () => {
      // A closed port is told by the next call on a connected socket, as an error event.
      socket.send(query, (error) => {
        if (error !== null) once(() => reject(error));
      });
    });
    socket.connect(server.port, server.host);
  });
}

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(String(reason)));
