/**
 * How does one TCP connection get to its target, and what is told of it?
 * Owns: dialling with a deadline, the PROXY header, the splice, the counts and the log line of one session.
 * Never: listens, or decides who may come in.
 */
import { connect, type Socket, type TcpNetConnectOpts } from "node:net";
import { TLSSocket } from "node:tls";
import type { PortConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { proxyHeader, type ProxyEndpoints } from "../core/proxy-protocol.ts";
import type { YoungGarbage } from "../core/young-garbage.ts";
import type { Logger } from "../observe/log.ts";
import type { PortTraffic } from "./port.ts";
import { createPieceReader } from "./piece-reader.ts";
import { cutOff, splice } from "./splice.ts";

import { literalRefusal, lookupFor } from "./target.ts";

/** Milliseconds for TCP to the target, name lookup included. */
const CONNECT_MS = 5_000;
/** TCP keep-alive (milliseconds): finds peers that lost power or network without a word, below every idle limit. */
export const KEEP_ALIVE_MS = 60_000;
/**
 * Bytes that may wait for a slow reader, per direction. Four times the size of one read, so that a fast sender is not
 * paused for each piece; 512 sessions with both directions full hold 256 MB, which the kernel's buffers hold anyway.
 */
export const WAITING_BYTES = 262_144;

/** What a session has to know of its port or site. */
export type Way = Pick<PortConfig, "key" | "target" | "isPublic" | "proxyProtocol" | "idleMs">;

export interface SessionTools {
  traffic: PortTraffic;
  log: Logger;
  isLogged(): boolean;
  /** Of a target that does not answer; it says so only every few seconds. */
  complain(facts: Record<string, unknown>, words: string): void;
  garbage: YoungGarbage;
}

export interface Session {
  /** Dials, then joins the two. `client` is the accepted socket or the TLS that ended on it. */
  carry(client: Socket | TLSSocket): void;
  /** Ends it now. */
  cut(how: string): void;
}

/**
 * Counts from here on; ends with the raw socket.
 *
 * @param raw        accepted, with an error listener; it must allow half-open
 * @param endpoints  the client as we believe it, for the log and the PROXY header
 */
export function beginSession(raw: Socket, endpoints: ProxyEndpoints, way: Way, tools: SessionTools): Session {
  const { traffic, log } = tools;
  const startedAt = performance.now();
  let bytesIn = 0;
  let bytesOut = 0;
  let outcome = "refused";
  let target: Socket | undefined;
  let joined: Socket | undefined;
  traffic.active++;
  traffic.total++;

  raw.once("close", () => {
    target?.destroy();
    traffic.active--;
    if (!tools.isLogged()) return;
    log.info(
      {
        event: "forward.session",
        port: way.key,
        client: endpoints.sourceAddress,
        target: way.target.text,
        outcome,
        bytesIn,
        bytesOut,
        durationMs: Math.round(performance.now() - startedAt),
      },
      "forwarded session ended",
    );
  });

  function cut(how: string): void {
    outcome = how;
    if (target !== undefined) cutOff(target);
    if (joined === raw) cutOff(raw);
    else raw.destroy();
  }

  function failed(client: Socket, error: Error): void {
    traffic.target = { ok: false, at: Date.now(), error: errorText(error) };
    const facts = { event: "forward.target_failed", port: way.key, target: way.target.text };
    tools.complain({ ...facts, reason: errorText(error) }, "the target of a port cannot be reached");
    outcome = "unreachable";
    target?.destroy();
    cutOff(client);
    raw.destroy();
  }

  return {
    cut,
    carry(client) {
      joined = client;
      if (raw.destroyed) return;
      const refusal = literalRefusal(way);
      if (refusal !== undefined) {
        failed(client, refusal);
        return;
      }
      const readers = { client: createPieceReader(tools.garbage), target: createPieceReader(tools.garbage) };
      const socket = connect({ ...dialOptions(way), onread: readers.target.onread });
      target = socket;
      const slow = setTimeout(() => {
        socket.destroy(new Error(`no connection within ${CONNECT_MS / 1000} s`));
      }, CONNECT_MS);
      socket.on("error", (error) => {
        if (outcome === "refused") failed(client, error);
      });
      socket.once("close", () => clearTimeout(slow));
      socket.once("connect", () => {
        clearTimeout(slow);
        traffic.target = { ok: true, at: Date.now(), error: undefined };
        outcome = "open";
        if (way.proxyProtocol !== undefined) socket.write(proxyHeader(way.proxyProtocol, endpoints));
        splice(client, socket, readers, {
          idleMs: way.idleMs,
          moved(direction, bytes) {
            if (direction === "in") {
              bytesIn += bytes;
              traffic.bytesIn += bytes;
            } else {
              bytesOut += bytes;
              traffic.bytesOut += bytes;
            }
          },
          ended(how) {
            if (outcome === "open") outcome = how;
            // Under TLS the raw socket outlives what it carries unless it is told.
            if (client instanceof TLSSocket && how !== "closed") raw.destroy();
          },
        });
      });
    },
  };
}

/** `highWaterMark` goes through to the stream; the types of Node leave it out here. */
function dialOptions(way: Way): TcpNetConnectOpts & { highWaterMark: number } {
  return {
    host: way.target.host,
    port: way.target.port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    highWaterMark: WAITING_BYTES,
    autoSelectFamily: true,
    lookup: lookupFor(way),
  };
}
