/**
 * One connection to one target: how is it opened, and what does its failure mean?
 * Owns: TCP, TLS (with session reuse), unix socket and demo dialling; error → GATEHOUSE_UPSTREAM code.
 * Never: keeps a connection; `target-agent` does.
 */
import { once } from "node:events";
import { connect as connectTcp, isIP, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls, TLSSocket } from "node:tls";
import type { TargetConfig } from "../../config/model.ts";
import { errorText, type ErrorCode, GatehouseError } from "../../core/errors.ts";

export interface Dialler {
  /**
   * Returns at once; the connection may still be on its way (see isConnecting). Has its 'error' listener.
   * @param take  is given all bytes that come, in place of 'data' events; they hold during the call only
   */
  dial(take?: (bytes: Buffer) => void): Duplex;
}

/** First TCP keep-alive probe: finds a target that lost its power within a few minutes (milliseconds). */
const KEEP_ALIVE_DELAY_MS = 60_000;
/**
 * Bytes of one read from a plain target. Node otherwise makes a buffer of this size for every read, and gives most of it
 * back. Untouched pages of it cost nothing.
 */
const READ_BYTES = 65_536;
/** Above every configurable connect limit: the last word if nobody else watches a connection that never opens. */
const LAST_CONNECT_MS = 120_000;

/** Happy eyeballs (RFC 8305): the addresses of a name are tried side by side, a new lookup for every dial. */
const TCP = { keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS, noDelay: true, autoSelectFamily: true };

const securing = new WeakSet<Duplex>();

export function createDialler(
  target: TargetConfig,
  connectDemo: () => Duplex,
  onOpen: (socket: Duplex) => void,
): Dialler {
  /** The newest TLS session of this very target, so that a reconnect costs no full handshake. */
  let session: Buffer | undefined;

  function open(take: ((bytes: Buffer) => void) | undefined): Duplex {
    if (target.kind === "http" || target.kind === "unix") return openPlain(target, take);
    const socket = openOther();
    if (take !== undefined) socket.on("data", take);
    return socket;
  }

  function openOther(): Duplex {
    if (target.kind === "demo") return connectDemo();
    const serverName = target.tls.serverName ?? target.host;
    const socket = connectTls({
      host: target.host,
      port: target.port,
      ...TCP,
      // RFC 6066 §3: no address literals in SNI. Node still checks the certificate against the host then.
      servername: isIP(serverName) === 0 ? serverName : "",
      rejectUnauthorized: target.tls.verify,
      ALPNProtocols: ["http/1.1"],
      ...(target.tls.roots === undefined ? {} : { ca: target.tls.roots }),
      ...(session === undefined ? {} : { session }),
    });
    socket.on("session", (fresh) => (session = fresh));
    // A target that changed its key refuses the old session; the next dial starts clean.
    socket.once("error", () => (session = undefined));
    securing.add(socket);
    socket.once("secureConnect", () => securing.delete(socket));
    return socket;
  }

  return {
    dial(take) {
      const socket = open(take);
      socket.on("error", () => {});
      onOpen(socket);
      if (isConnecting(socket)) {
        const timer = setTimeout(() => {
          if (isConnecting(socket)) socket.destroy(new Error("connect timeout"));
        }, LAST_CONNECT_MS).unref();
        socket.once("close", () => clearTimeout(timer));
        socket.once(socket instanceof TLSSocket ? "secureConnect" : "connect", () => clearTimeout(timer));
      }
      return socket;
    },
  };
}

function openPlain(target: TargetConfig, take: ((bytes: Buffer) => void) | undefined): Socket {
  const buffer = take === undefined ? undefined : Buffer.allocUnsafeSlow(READ_BYTES);
  const onread =
    take === undefined || buffer === undefined
      ? {}
      : {
          onread: {
            buffer,
            callback: (size: number): boolean => {
              take(buffer.subarray(0, size));
              return true;
            },
          },
        };
  return target.kind === "unix"
    ? connectTcp({ path: target.path, ...onread })
    : connectTcp({ host: target.host, port: target.port, ...TCP, ...onread });
}

/** TCP or TLS handshake not done yet. */
export function isConnecting(socket: Duplex): boolean {
  return (socket instanceof Socket && socket.connecting) || securing.has(socket);
}

/** Resolves when the target has taken the connection, TLS included. Does not destroy it on abort. */
export async function whenConnected(socket: Duplex, signal: AbortSignal): Promise<void> {
  const wasTls = securing.has(socket);
  try {
    await once(socket, wasTls ? "secureConnect" : "connect", { signal });
  } catch (cause) {
    throw new GatehouseError(connectFailure(cause, wasTls && socket instanceof TLSSocket && !socket.connecting), {
      message: `The target cannot be reached: ${errorText(cause)}`,
      hint: "Is the machine on, and does it listen on this address and port?",
      cause,
    });
  }
}

/** What an error before the first request byte means. `isSecuring`: TCP stood, the TLS handshake did not. */
export function connectFailure(error: unknown, isSecuring: boolean): ErrorCode {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? "";
  if (isTlsCode(code)) return "GATEHOUSE_UPSTREAM_TLS";
  if (code === "ETIMEDOUT") return "GATEHOUSE_UPSTREAM_SLOW";
  return isSecuring && code !== "ECONNREFUSED" ? "GATEHOUSE_UPSTREAM_TLS" : "GATEHOUSE_UPSTREAM_REFUSED";
}

/** Codes of OpenSSL (`ERR_SSL_…`), Node's own TLS checks and certificate verification. */
export function isTlsCode(code: string): boolean {
  return /^(?:ERR_SSL_|ERR_TLS_|EPROTO$|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|CRL_|INVALID_CA|INVALID_PURPOSE)/.test(
    code,
  );
}
