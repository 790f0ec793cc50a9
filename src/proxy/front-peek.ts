/**
 * What do the first bytes of a connection say, before anybody else reads them?
 * Owns: collecting them in any pieces up to a bound and a deadline; the client behind a PROXY header; the name in a
 *   ClientHello; putting back what is for the next reader.
 * Never: decides whom to believe or where a connection goes.
 */
import type { Socket } from "node:net";
import { parseClientHello } from "../core/client-hello.ts";
import { plainAddress } from "../core/networks.ts";
import { parseProxyHeader } from "../core/proxy-protocol-read.ts";
import type { ProxyEndpoints } from "../core/proxy-protocol.ts";

/** The peer has to begin with a PROXY header; without addresses in it (LOCAL, UNKNOWN) it speaks for itself. */
export function readProxiedClient(
  socket: Socket,
  peer: ProxyEndpoints,
  { withinMs, done, failed }: { withinMs: number; done(client: ProxyEndpoints): void; failed(why: string): void },
): void {
  peek(socket, {
    withinMs,
    failed,
    read(bytes) {
      const header = parseProxyHeader(bytes);
      return header?.facts === undefined ? header : { value: header.facts, size: header.size };
    },
    done({ source, destination }) {
      done({
        sourceAddress: source === undefined ? peer.sourceAddress : plainAddress(source.address),
        sourcePort: source?.port ?? peer.sourcePort,
        destinationAddress: destination === undefined ? peer.destinationAddress : plainAddress(destination.address),
        destinationPort: destination?.port ?? peer.destinationPort,
      });
    },
  });
}

/**
 * The name a TLS client asks for (RFC 6066 §3); undefined when it asks for none, or when what it says cannot be read:
 * then it is nobody's passthrough, and TLS itself says what is wrong with it. Every byte is back on the socket.
 */
export function readServerName(
  socket: Socket,
  { withinMs, done, late }: { withinMs: number; done(serverName: string | undefined): void; late(): void },
): void {
  peek(socket, {
    withinMs,
    failed: (why) => (why === "late" ? late() : done(undefined)),
    read(bytes) {
      const parsed = parseClientHello(bytes);
      return parsed?.hello === undefined ? parsed : { value: parsed.hello, size: 0 };
    },
    done: ({ serverName }) => done(serverName),
  });
}

interface Peek<T> {
  /** What has been read so far → the answer and how many bytes belong to it, `undefined` for more, a word when it is hopeless. */
  read(bytes: Buffer): { value: T; size: number } | { broken: string } | undefined;
  /** Milliseconds. */
  withinMs: number;
  /** The bytes behind `size` are back on the socket, which is paused. */
  done(value: T): void;
  /** `late`, or the word of `read` (then every byte is back); the socket is still open. Not called for one that left. */
  failed(why: string): void;
}

/** The socket must have an error listener. `read` bounds the bytes: it must give up some time. */
function peek<T>(socket: Socket, { read, withinMs, done, failed }: Peek<T>): void {
  let bytes: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => {
    stop();
    failed("late");
  }, withinMs);
  const stop = (): void => {
    clearTimeout(timer);
    socket.off("data", take);
    socket.off("end", stop);
    socket.off("close", stop);
    socket.pause();
  };
  const take = (piece: Buffer): void => {
    bytes = bytes.length === 0 ? piece : Buffer.concat([bytes, piece]);
    const result = read(bytes);
    if (result === undefined) return;
    stop();
    if ("broken" in result) {
      socket.unshift(bytes);
      failed(result.broken);
      return;
    }
    if (result.size < bytes.length) socket.unshift(bytes.subarray(result.size));
    done(result.value);
  };
  socket.pause();
  socket.on("data", take);
  socket.on("end", stop);
  socket.on("close", stop);
  socket.resume();
}
