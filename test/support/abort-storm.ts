/**
 * Many clients that leave at random moments: nothing of them may stay behind.
 */
import { once } from "node:events";
import { connect as connectH2 } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";

export interface StormTarget {
  httpsPort: number;
  /** Host and SNI. */
  name: string;
}

export interface Storm extends StormTarget {
  /** How many clients leave in all. */
  aborts: number;
  /** At one time; below the per-address bound of the front. Default 50. */
  parallel?: number;
  path?: string;
}

/** Moments to leave at, in turn: before, during and after the first bytes of an answer. */
const MOMENTS = ["at once", "first byte", "a little later", "after a while"] as const;
type Moment = (typeof MOMENTS)[number];

async function inParallel(storm: Storm, one: (moment: Moment) => Promise<void>): Promise<void> {
  let left = storm.aborts;
  const lane = async (): Promise<void> => {
    while (left > 0) await one(MOMENTS[left-- % MOMENTS.length] ?? "at once");
  };
  await Promise.all(Array.from({ length: storm.parallel ?? 50 }, lane));
}

interface Client {
  raw: Socket;
  socket: TLSSocket;
}

async function secure({ httpsPort, name }: StormTarget): Promise<Client> {
  const raw = connectTcp({ port: httpsPort, host: "127.0.0.1" });
  raw.on("error", () => {});
  const socket = connect({ socket: raw, servername: name, rejectUnauthorized: false });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  return { raw, socket };
}

/** Resolves when it is time to leave; also when the other side closed first. */
async function until(moment: Moment, socket: TLSSocket): Promise<void> {
  if (moment === "at once") return;
  let pieces = 0;
  await new Promise<void>((resolve) => {
    socket.on("data", () => {
      pieces++;
      if (moment === "first byte" || pieces >= (moment === "a little later" ? 3 : 10)) resolve();
    });
    socket.once("close", () => resolve());
  });
}

/**
 * Rude: with bytes unread, for which the kernel sends a reset. (`resetAndDestroy` on a connection below TLS crashes
 * Node 24.21 itself, and a TLSSocket has no reset of its own.)
 */
async function leave({ raw, socket }: Client, isRude: boolean): Promise<void> {
  const closed = raw.closed ? undefined : new Promise((resolve) => raw.once("close", resolve));
  if (isRude) {
    socket.pause();
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.destroy();
  await closed;
}

/** Downloads over HTTP/1.1; half of the clients leave with a reset. The target should send megabytes. */
export async function abortDownloadsH1(storm: Storm): Promise<void> {
  let count = 0;
  await inParallel(storm, async (moment) => {
    const client = await secure(storm);
    const { socket } = client;
    socket.write(`GET ${storm.path ?? "/"} HTTP/1.1\r\nHost: ${storm.name}\r\n\r\n`);
    await until(moment, socket);
    await leave(client, count++ % 2 === 0);
  });
}

/** Downloads over HTTP/2, 40 to a session; every fourth session is cut instead of its streams. */
export async function abortDownloadsH2(storm: Storm): Promise<void> {
  const PER_SESSION = 40;
  let left = Math.ceil(storm.aborts / PER_SESSION);
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const isCut = left % 4 === 0;
      const session = connectH2(`https://127.0.0.1:${storm.httpsPort}`, {
        servername: storm.name,
        rejectUnauthorized: false,
      });
      session.on("error", () => {});
      const streams = Array.from({ length: PER_SESSION }, (_, index) => {
        const stream = session.request({ ":authority": storm.name, ":path": storm.path ?? "/" });
        stream.on("error", () => {});
        const closed = new Promise<void>((resolve) => stream.once("close", resolve));
        if (isCut) stream.resume();
        else if (index % 2 === 0) setImmediate(() => stream.close(8));
        else stream.once("data", () => stream.close(8));
        return { stream, closed };
      });
      if (isCut) {
        await Promise.race(streams.map(({ stream }) => once(stream, "data").catch(() => {})));
        session.destroy();
      }
      await Promise.all(streams.map(({ closed }) => closed));
      const gone = session.destroyed ? undefined : once(session, "close");
      session.destroy();
      await gone;
    }
  };
  await Promise.all(Array.from({ length: Math.ceil((storm.parallel ?? 50) / 10) }, lane));
}

/** Upgrades; clients leave before the answer, at it, or with frames under way. */
export async function abortUpgrades(storm: Storm): Promise<void> {
  let count = 0;
  await inParallel(storm, async (moment) => {
    const client = await secure(storm);
    const { socket } = client;
    socket.write(
      `GET ${storm.path ?? "/"} HTTP/1.1\r\nHost: ${storm.name}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    await until(moment === "at once" ? moment : "first byte", socket);
    // A masked text frame "hi", sometimes half of one.
    const text = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
    if (moment === "a little later") socket.write(text);
    if (moment === "after a while") socket.write(text.subarray(0, 4));
    await leave(client, count++ % 2 === 0);
  });
}
