/**
 * How is a question put to the router by UDP, and for how long?
 * Owns: one socket per question, the retransmissions that RFC 6886 and RFC 6887 allow, who may answer.
 * Never: reads an answer.
 */
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";
import { errorText, GatehouseError } from "../core/errors.ts";

/** Both protocols. */
const GATEWAY_PORT = 5351;

/** Larger than any answer of either (RFC 6887 §7: 1,100). */
const MAX_ANSWER_BYTES = 1_100;

export interface Question<T> {
  gateway: string;
  /** Our address: what the router will take as the owner of a mapping. */
  ownAddress: string;
  /** Default 5351; a test's peer has another. */
  port?: number;
  /** What is said when nobody answers. */
  protocol: string;
  packet: Buffer;
  /** How long to wait after each sending; as many sendings as there are waits. Milliseconds. */
  waitsMs: readonly number[];
  /** Undefined: not the answer to this question, keep waiting. @throws what makes the question fail */
  accept(answer: Buffer): T | undefined;
  signal: AbortSignal;
}

/**
 * RFC 6886 §3.1: 250 ms, then twice as long each time, up to nine sendings.
 * Seven are 32 s; the ninth would end after two minutes, and the mapper asks again by itself long before.
 */
export function natPmpWaits(sendings: number): number[] {
  return Array.from({ length: Math.min(sendings, 9) }, (_none, at) => 250 * 2 ** at);
}

/** RFC 6887 §8.1.1: the first after 3 s (IRT), then twice as long, each with up to a tenth added or taken. */
export function pcpWaits(sendings: number, random: () => number = Math.random): number[] {
  const waits: number[] = [];
  for (let at = 0; at < sendings; at++) {
    const jitter = (random() * 2 - 1) / 10;
    const last = waits.at(-1);
    waits.push(last === undefined ? 3_000 * (1 + jitter) : Math.min(2 * last, 1_024_000) + jitter * last);
  }
  return waits;
}

/** @throws GATEHOUSE_ROUTER_SILENT, the signal's reason, and what `accept` throws */
export function askGateway<T>(question: Question<T>): Promise<T> {
  const { gateway, ownAddress, port = GATEWAY_PORT, protocol, packet, waitsMs, accept, signal } = question;
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const socket = createSocket({ type: isIPv6(gateway.split("%")[0] ?? "") ? "udp6" : "udp4" });
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    const finish = (end: () => void): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      socket.close();
      end();
    };
    const onAbort = (): void => finish(() => reject(signal.reason as Error));
    const silent = (why: string, cause?: unknown): void =>
      finish(() =>
        reject(
          new GatehouseError("GATEHOUSE_ROUTER_SILENT", {
            message: `The router ${gateway} does not answer ${protocol}: ${why}.`,
            hint: "Turn on UPnP or PCP/NAT-PMP in the router, or enter the forwards there by hand: gatehouse router checklist",
            cause,
          }),
        ),
      );
    const send = (at: number): void => {
      const wait = waitsMs[at];
      if (wait === undefined) {
        silent(`${waitsMs.length} questions, no answer`);
        return;
      }
      socket.send(packet, (error) => {
        if (error) silent(errorText(error), error);
      });
      timer = setTimeout(() => send(at + 1), wait);
    };
    socket.on("error", (error) => silent(errorText(error), error));
    socket.on("message", (answer) => {
      if (answer.length > MAX_ANSWER_BYTES) return;
      let value: T | undefined;
      try {
        value = accept(answer);
      } catch (error) {
        finish(() => reject(error instanceof Error ? error : new Error(errorText(error))));
        return;
      }
      if (value !== undefined) finish(() => resolve(value));
    });
    signal.addEventListener("abort", onAbort, { once: true });
    socket.bind(0, ownAddress, () => {
      // Connected: the kernel drops whatever does not come from the gateway's own address and port.
      if (!isOver) socket.connect(port, gateway);
    });
    // Not as the callback of connect: that one is called when there is no route, too, and a send would then throw.
    socket.once("connect", () => {
      if (!isOver) send(0);
    });
  });
}
