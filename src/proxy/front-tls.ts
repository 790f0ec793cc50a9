/**
 * Is this a TLS client for one of our names?
 * Owns: the one tls.Server, its settings, SNI to certificate, refusals and what the log says of them.
 * Never: knows what is spoken inside.
 */
import { constants } from "node:crypto";
import type { Socket } from "node:net";
import {
  createSecureContext,
  createServer,
  type SecureContext,
  type Server,
  type TlsOptions,
  type TLSSocket,
} from "node:tls";
import { tlsSettings } from "../core/tls-settings.ts";
import type { Logger } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";

export type ContextChoice = { context: SecureContext } | { refused: "unknown" | "pending" };

export interface ServerCertificate {
  keyPem: string;
  certificatePem: string;
}

export interface TlsFrontOptions {
  /** Ask every client for a certificate. What it shows is not judged here, and nothing of the handshake is resumed. */
  asksDevice?: boolean;
  chooseContext(serverName: string): ContextChoice | Promise<ContextChoice>;
  /** For a handshake that offers `acme-tls/1` and nothing else (RFC 8737): the CA's question, or a stranger's. */
  challengeCertificate(serverName: string): Promise<{ keyPem: string; certificatePem: string } | undefined>;
  fallback: ServerCertificate;
  /** For a client that names nobody and came to this address; undefined: the fallback. Default: always that. */
  addressCertificate?: ((localAddress: string) => ServerCertificate | undefined) | undefined;
  ticketKeys: Buffer;
  log: Logger;
  metrics: Metrics;
  /** Asked per connection. */
  handshakeMs(): number;
  /** A handshake took longer than that. */
  late(raw: Socket): void;
}

export interface TlsFront {
  /**
   * @param localAddress  the one that the client came to
   * @param secured  the handshake is done
   */
  accept(raw: Socket, localAddress: string, secured: (socket: TLSSocket) => void): void;
  setTicketKeys(keys: Buffer): void;
}

interface Handshake {
  raw: Socket;
  outcome: "failed" | "refused" | "pending" | "challenge";
  timer: NodeJS.Timeout;
  secured(socket: TLSSocket): void;
}

/** Node's own timer, above every configurable one: it only sees silence. */
const SILENT_HANDSHAKE_MS = 300_000;
/** Seconds. A day: as long as a ticket key may live (RFC 8446 §4.6.1 allows seven). */
const SESSION_SECONDS = 86_400;
/** RFC 6066 §3: a host name, and no host name is longer. */
const MAX_SERVER_NAME = 253;
/** A machine has a handful of addresses. */
const MAX_BY_ADDRESS = 64;
/** In our order of preference. */
const OUR_PROTOCOLS = ["h2", "http/1.1"];
const ACME_TLS = "acme-tls/1";
/**
 * A resumed session would bring back who somebody was, on a name it was not asked for, or after it was sent away (nginx
 * CVE-2025-23419): so no tickets, and no cache either, which Node has only for those who listen to its events.
 */
const ASKING = {
  requestCert: true,
  rejectUnauthorized: false,
  sessionIdContext: "devices",
  secureOptions: tlsSettings.secureOptions | constants.SSL_OP_NO_TICKET,
};
/** Scanners knock with many names: per minute this many lines, then one with the count. */
const REFUSALS_PER_MINUTE = 5;
const MINUTE_MS = 60_000;

/** Fatal alert unrecognized_name (112) in a plain TLS 1.2 record: nothing is encrypted before the ServerHello. */
const UNRECOGNIZED_NAME = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70]);

export function createTlsFront(options: TlsFrontOptions): TlsFront {
  const { log, metrics } = options;
  const refusals = createRefusalLog(log);
  /** Sockets that settled on `acme-tls/1`: they get the challenge's certificate, and no byte after the handshake. */
  const challenged = new WeakSet<TLSSocket>();
  /** Sockets whose certificate is chosen already. */
  const named = new WeakSet<TLSSocket>();
  /** Connections in their handshake, by the peer's address and port: all that a TLSSocket tells of its connection. */
  const shaking = new Map<string, Handshake>();

  const settings: TlsOptions = {
    ...tlsSettings,
    handshakeTimeout: SILENT_HANDSHAKE_MS,
    sessionTimeout: SESSION_SECONDS,
    // A callback in place of a list, so that `acme-tls/1` is never offered to those who ask for anything else.
    ALPNCallback(this: TLSSocket, { protocols }: { protocols: string[] }): string | undefined {
      if (protocols.length === 1 && protocols[0] === ACME_TLS) {
        // With TLS 1.2 OpenSSL asks for the certificate first, and it is too late; CAs speak 1.3 where they can.
        if (named.has(this)) return undefined;
        challenged.add(this);
        return ACME_TLS;
      }
      return OUR_PROTOCOLS.find((protocol) => protocols.includes(protocol));
    },
    // Called with the TLSSocket as `this`, and only when there is a name.
    SNICallback(this: TLSSocket, serverName: string, done: (error: Error | null, context?: SecureContext) => void) {
      const name = serverName.toLowerCase();
      named.add(this);
      if (challenged.has(this)) {
        answerChallenge(name, done);
        return;
      }
      const choice = name.length <= MAX_SERVER_NAME ? options.chooseContext(name) : { refused: "unknown" as const };
      if (choice instanceof Promise) {
        choice.then(
          (late) => settle(this, name, late, done),
          (error: unknown) => done(error instanceof Error ? error : new Error(String(error))),
        );
      } else {
        settle(this, name, choice, done);
      }
    },
  };

  function settle(
    socket: TLSSocket,
    name: string,
    choice: ContextChoice,
    done: (error: Error | null, context?: SecureContext) => void,
  ): void {
    if ("context" in choice) {
      done(null, choice.context);
      return;
    }
    // A pending name is one of ours: the one who chose it there knows the site and says so.
    if (choice.refused === "unknown") refusals.say(name);
    const entry = shaking.get(keyOf(socket));
    const refuse = (): void => done(new Error(`certificate ${choice.refused}`));
    if (entry === undefined) {
      refuse();
      return;
    }
    entry.outcome = choice.refused === "pending" ? "pending" : "refused";
    // Node only cuts the connection; with the alert a browser says "unrecognized name" and not "reset".
    entry.raw.write(UNRECOGNIZED_NAME, refuse);
  }

  function answerChallenge(name: string, done: (error: Error | null, context?: SecureContext) => void): void {
    options.challengeCertificate(name).then(
      (found) => {
        const context = found && createSecureContext({ ...tlsSettings, key: found.keyPem, cert: found.certificatePem });
        if (context === undefined) done(new Error("no challenge is open"));
        else done(null, context);
      },
      (error: unknown) => done(error instanceof Error ? error : new Error(String(error))),
    );
  }

  function secured(socket: TLSSocket): void {
    socket.on("error", () => {});
    const key = keyOf(socket);
    const entry = shaking.get(key);
    // RFC 8737 §3: the handshake was all; nothing is exchanged after it.
    if (challenged.has(socket)) {
      if (entry !== undefined) entry.outcome = "challenge";
      socket.end();
      return;
    }
    metrics.handshake("https", socket.getProtocol() ?? undefined, "ok");
    // Without an entry the connection is gone already.
    if (entry === undefined) {
      socket.destroy();
      return;
    }
    shaking.delete(key);
    clearTimeout(entry.timer);
    entry.secured(socket);
  }

  let { ticketKeys } = options;
  function open({ keyPem, certificatePem }: ServerCertificate): Server {
    const resuming = options.asksDevice === true ? ASKING : { ticketKeys };
    const server = createServer({ ...settings, ...resuming, key: keyPem, cert: certificatePem });
    server.on("secureConnection", secured);
    // Not TLS at all, no common version, no common protocol, gone in the middle: everyday on an open port.
    server.on("tlsClientError", (error: NodeJS.ErrnoException) => {
      log.debug({ event: "tls.handshake_failed", code: (error.code ?? "").slice(0, 64) }, "TLS handshake failed");
    });
    server.on("error", () => {});
    return server;
  }

  const unnamed = open(options.fallback);
  /** SNI holds no addresses, so a client of one names nobody: the address it came to decides. By certificate. */
  const byAddress = new Map<string, Server>();
  function serverAt(localAddress: string): Server {
    const wanted = options.addressCertificate?.(localAddress);
    if (wanted === undefined) return unnamed;
    const known = byAddress.get(wanted.certificatePem);
    if (known !== undefined) return known;
    // Those of certificates that were renewed go with the rest: making one anew costs a third of a millisecond.
    if (byAddress.size >= MAX_BY_ADDRESS) byAddress.clear();
    const server = open(wanted);
    byAddress.set(wanted.certificatePem, server);
    return server;
  }

  return {
    accept(raw, localAddress, whenSecured) {
      const key = keyOf(raw);
      // Node's own handshakeTimeout is an idle timer: a ClientHello dripped byte by byte kept it away for minutes.
      const late = (): void => {
        options.late(raw);
        raw.destroy();
      };
      const timer = setTimeout(late, options.handshakeMs());
      const entry: Handshake = { raw, outcome: "failed", timer, secured: whenSecured };
      shaking.set(key, entry);
      raw.once("close", () => {
        clearTimeout(entry.timer);
        if (shaking.get(key) !== entry) return;
        shaking.delete(key);
        metrics.handshake("https", undefined, entry.outcome);
      });
      serverAt(localAddress).emit("connection", raw);
    },
    setTicketKeys(keys) {
      if (options.asksDevice === true) return;
      ticketKeys = keys;
      for (const server of [unnamed, ...byAddress.values()]) server.setTicketKeys(keys);
    },
  };
}

const keyOf = (socket: Socket): string =>
  `${socket.localAddress}:${socket.localPort} ${socket.remoteAddress}:${socket.remotePort}`;

/** Unknown names are chosen by strangers: a few a minute, cleaned and cut. */
function createRefusalLog(log: Logger): { say(name: string): void } {
  let minuteEndsAt = 0;
  let said = 0;
  let unsaid = 0;
  return {
    say(name) {
      const now = performance.now();
      if (now >= minuteEndsAt) {
        minuteEndsAt = now + MINUTE_MS;
        said = 0;
      }
      if (said++ >= REFUSALS_PER_MINUTE) {
        unsaid++;
        return;
      }
      const clean = name.slice(0, 100).replaceAll(/[^a-z0-9.*_-]/g, "?");
      log.info({ event: "tls.unknown_name", name: clean, unsaid }, "handshake refused: no site has this name");
      unsaid = 0;
    },
  };
}
