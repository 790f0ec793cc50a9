/**
 * What do the first bytes of a connection say, before anybody else reads them?
 * Owns: collecting them in any pieces up to a bound and a deadline; the client behind a PROXY header; what a
 *   ClientHello asks for; putting back what is for the next reader.
 * Never: decides whom to believe or where a connection goes.
 */
import type { Socket } from "node:net";
import { type ClientHello, parseClientHello } from "../../core/client-hello.ts";
import { plainAddress } from "../../core/networks.ts";
import { parseProxyHeader } from "../../core/proxy-protocol-read.ts";
import type { ProxyEndpoints } from "../../core/proxy-protocol.ts";

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
 * What a TLS client says first, or the word for what is wrong with it: then it is for TLS itself to say so. Every byte is
 * back on the socket, which is paused. The caller has a deadline of its own for all of the handshake.
 */
export function readHello(socket: Socket, done: (hello: ClientHello | undefined, broken?: string) => void): void {
  peek(socket, {
    failed: (why) => done(undefined, why),
    read(bytes) {
      const parsed = parseClientHello(bytes);
      return parsed?.hello === undefined ? parsed : { value: parsed.hello, size: 0 };
    },
    done,
  });
}

interface Peek<T> {
  /** What has been read so far → the answer and how many bytes belong to it, `undefined` for more, a word when it is hopeless. */
  read(bytes: Buffer): { value: T; size: number } | { broken: string } | undefined;
  /** Milliseconds; without, somebody else destroys the socket some time. */
  withinMs?: number;
  /** The bytes behind `size` are back on the socket, which is paused. */
  done(value: T): void;
  /** `late`, or the word of `read` (then every byte is back); the socket is still open. Not called for one that left. */
  failed(why: string): void;
}

/** The socket must have an error listener. `read` bounds the bytes: it must give up some time. */
function peek<T>(socket: Socket, { read, withinMs, done, failed }: Peek<T>): void {
  let bytes: Buffer = Buffer.alloc(0);
  const late = (): void => {
    stop();
    failed("late");
  };
  const timer = withinMs === undefined ? undefined : setTimeout(late, withinMs);
  const stop = (): void => {
    clearTimeout(timer);
    socket.off("data", take);
    socket.off("end", left);
    socket.off("close", stop);
    socket.pause();
  };
  // Nothing more will come to make it whole.
  const left = (): void => {
    stop();
    socket.destroy();
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
  socket.on("end", left);
  socket.on("close", stop);
  socket.resume();
}
