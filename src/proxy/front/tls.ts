/**
 * Is this a TLS client for one of our names?
 * Owns: its first message, the certificate that is chosen by it, the handshake with its deadline, refusals and what the
 *   log says of them.
 * Never: knows what is spoken inside.
 *
 * The ClientHello is read here before OpenSSL sees it, and the socket is made with everything decided. Node's own order is
 * a tls.Server with callbacks for name and protocol; it lost twice. A socket that is given its first bytes keeps a buffer of
 * their size, and one that reads them itself one of 64 KiB for as long as it stays. And for acme-tls/1 under TLS 1.2 the
 * protocol came too late for the certificate. A handshake costs the same either way.
 */
import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import { letGo } from "../../core/let-go.ts";
import type { ClientHello } from "../../core/client-hello.ts";
import type { Logger } from "../../observe/log.ts";
import type { HandshakeOutcome, Metrics } from "../../observe/metrics.ts";
import {
  contextOf,
  createAsking,
  createTicketSeals,
  createUnnamed,
  type ServerCertificate,
  type TicketSeals,
  type UnnamedOptions,
} from "./contexts.ts";
import { readHello } from "./peek.ts";

export type ContextChoice = { context: SecureContext } | { refused: "unknown" | "pending" };

export interface TlsFrontOptions extends UnnamedOptions {
  /** @param hasTicket  the client brings one; a context for both kinds serves them, too, at the dearer one's price */
  chooseContext(serverName: string, hasTicket: boolean): ContextChoice | Promise<ContextChoice>;
  /** For a handshake that offers `acme-tls/1` and nothing else (RFC 8737): the CA's question, or a stranger's. */
  challengeCertificate(serverName: string): Promise<ServerCertificate | undefined>;
  ticketKeys: Buffer;
  log: Logger;
  metrics: Metrics;
  /** Asked per connection. */
  handshakeMs(): number;
  /** A handshake took longer than that. */
  late(raw: Socket): void;
}

export interface Visitor {
  /** The one that the client came to. */
  localAddress: string;
  /** Asked with the name in the first message. True: the connection has gone elsewhere, whole. */
  divert(serverName: string): boolean;
  /** Does the site of this name ask who the device is? What it shows is not judged here. */
  asksDevice(serverName: string): boolean;
  /** The handshake is done; the client was asked for a certificate, or not. */
  secured(socket: TLSSocket, wasAsked: boolean): void;
}

export interface TlsFront {
  accept(raw: Socket, visitor: Visitor): void;
  setTicketKeys(keys: Buffer): void;
}

/** In our order of preference. */
const OUR_PROTOCOLS = protocolList("h2", "http/1.1");
const ACME_TLS = "acme-tls/1";
const CHALLENGE_PROTOCOLS = protocolList(ACME_TLS);
/** What the parser of the ClientHello says of a name that is none: OpenSSL might take it for one. */
const NO_NAME = "server name";
/** Scanners knock with many names: per minute this many lines, then one with the count. */
const REFUSALS_PER_MINUTE = 5;
const MINUTE_MS = 60_000;

/** Fatal alert unrecognized_name (112) in a plain TLS 1.2 record: nothing is encrypted before the ServerHello. */
const UNRECOGNIZED_NAME = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70]);

/** What all handshakes share. */
interface Home {
  options: TlsFrontOptions;
  /** For a client that names nobody. */
  unnamed(localAddress: string): SecureContext;
  asking: SecureContext;
  tickets: TicketSeals;
  refusals: RefusalLog;
}

export function createTlsFront(options: TlsFrontOptions): TlsFront {
  const tickets = createTicketSeals(options.ticketKeys);
  const home: Home = {
    options,
    unnamed: createUnnamed(options),
    asking: createAsking(options.fallback),
    tickets,
    refusals: createRefusalLog(options.log),
  };
  return {
    accept(raw, visitor) {
      const handshake = new Handshake(home, raw, visitor);
      readHello(raw, (hello, broken) => handshake.choose(hello, broken));
    },
    setTicketKeys: (keys) => tickets.change(keys),
  };
}

/** Of a class and not of closures: its connection holds it for as long as it stays. */
class Handshake {
  readonly #home: Home;
  readonly #raw: Socket;
  readonly #visitor: Visitor;
  readonly #timer: NodeJS.Timeout;
  #hasTicket = false;
  /** What the metric will say when the connection closes; undefined when it has been said, or is not ours to say. */
  #outcome: HandshakeOutcome | undefined = "failed";

  constructor(home: Home, raw: Socket, visitor: Visitor) {
    this.#home = home;
    this.#raw = raw;
    this.#visitor = visitor;
    // All of it, the first message included: an idle timer was kept away for minutes by a ClientHello dripped byte by byte.
    this.#timer = setTimeout(() => {
      home.options.late(raw);
      raw.destroy();
    }, home.options.handshakeMs());
    raw.on("close", () => {
      clearTimeout(this.#timer);
      if (this.#outcome !== undefined) home.options.metrics.handshake("https", undefined, this.#outcome);
    });
  }

  choose(hello: ClientHello | undefined, broken: string | undefined): void {
    const { options, unnamed } = this.#home;
    const name = hello?.serverName;
    this.#hasTicket = hello?.hasTicket === true;
    if (broken === NO_NAME) {
      this.#refuse("refused");
    } else if (hello === undefined || name === undefined) {
      this.#shake(unnamed(this.#visitor.localAddress), undefined);
    } else if (hello.protocols.length === 1 && hello.protocols[0] === ACME_TLS) {
      this.#when(options.challengeCertificate(name), (found) => {
        if (found !== undefined) this.#shake(contextOf(found), name, true);
        else this.#raw.destroy();
      });
    } else if (this.#visitor.divert(name)) {
      this.#settled();
    } else {
      const choice = options.chooseContext(name, this.#hasTicket);
      if (choice instanceof Promise) this.#when(choice, (late) => this.#take(late, name));
      else this.#take(choice, name);
    }
  }

  #settled(): void {
    this.#outcome = undefined;
    clearTimeout(this.#timer);
  }

  #take(choice: ContextChoice, name: string): void {
    if ("context" in choice) {
      this.#shake(choice.context, name);
      return;
    }
    // A pending name is one of ours: the one who chose it there knows the site and says so.
    if (choice.refused === "unknown") this.#home.refusals.say(name);
    this.#refuse(choice.refused === "pending" ? "pending" : "refused");
  }

  /** With the alert a browser says "unrecognized name"; without, "reset". */
  #refuse(why: "refused" | "pending"): void {
    this.#outcome = why;
    this.#raw.end(UNRECOGNIZED_NAME, () => this.#raw.destroy());
  }

  /** Whoever left meanwhile needs no answer. */
  #when<T>(coming: Promise<T>, act: (value: T) => void): void {
    coming.then(
      (value) => {
        if (!this.#raw.destroyed) act(value);
      },
      () => this.#raw.destroy(),
    );
  }

  /** @param name  the one the certificate was chosen by */
  #shake(context: SecureContext, name: string | undefined, isChallenge = false): void {
    const { asking, tickets } = this.#home;
    const asks = name !== undefined && !isChallenge && this.#visitor.asksDevice(name);
    if (!asks) tickets.seal(context, this.#hasTicket);
    const socket = new TLSSocket(this.#raw, {
      isServer: true,
      secureContext: asks ? asking : context,
      ...(asks ? { requestCert: true, SNICallback: (_name, done) => done(null, context) } : {}),
      ALPNProtocols: isChallenge ? CHALLENGE_PROTOCOLS : OUR_PROTOCOLS,
    });
    // Gone in the middle: nobody is left to finish it.
    const left = (): void => void this.#raw.destroy();
    socket.on("error", ignore);
    socket.on("_tlsError", (error: NodeJS.ErrnoException) => this.#failed(error));
    socket.on("end", left);
    socket.on("close", closed);
    socket.once("secure", () => {
      socket.off("end", left);
      // Where OpenSSL read another name than we did, nobody knows which site is meant.
      if (socket.destroyed || nameOf(socket) !== name) {
        this.#raw.destroy();
      } else if (isChallenge) {
        // RFC 8737 §3: the handshake was all; nothing is exchanged after it.
        this.#outcome = "challenge";
        socket.end();
      } else {
        this.#settled();
        this.#home.options.metrics.handshake("https", socket.getProtocol() ?? undefined, "ok");
        this.#visitor.secured(socket, asks);
      }
    });
  }

  /** Not TLS at all, no common version, gone in the middle: everyday on an open port. Later: a record that was forged. */
  #failed(error: NodeJS.ErrnoException): void {
    if (this.#outcome !== undefined) {
      const code = (error.code ?? "").slice(0, 64);
      this.#home.options.log.debug({ event: "tls.handshake_failed", code }, "TLS handshake failed");
    }
    this.#raw.destroy();
  }
}

const ignore = (): void => {};

function closed(this: TLSSocket): void {
  letGo(this);
}

/**
 * RFC 7301 §3.1, as `ALPNProtocols` takes it: each with its length before it. A DataView, because of a Buffer each socket
 * keeps a copy in Node's pool, and those twelve bytes hold a pool of 64 KiB for as long as the connection stays.
 */
function protocolList(...names: string[]): DataView {
  const bytes = Uint8Array.from(names.flatMap((name) => [name.length, ...Buffer.from(name)]));
  return new DataView(bytes.buffer);
}

/** As OpenSSL read it; Node says `false` where there is none. */
function nameOf(socket: TLSSocket): string | undefined {
  const name: unknown = socket.servername;
  return typeof name === "string" && name !== "" ? name.toLowerCase() : undefined;
}

interface RefusalLog {
  say(name: string): void;
}

/** Unknown names are chosen by strangers: a few a minute, cleaned and cut. */
function createRefusalLog(log: Logger): RefusalLog {
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
