/**
 * A port for a program that must be told one.
 *
 * Not one that the kernel gives for port 0: those come from the range of outgoing connections (32768 and above), and with
 * several tests at a time somebody else has it a moment later, now and then. Below, only those who choose like this compete.
 */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

const FIRST = 10_000;
const BEHIND_LAST = 32_000;
const TRIES = 100;

/** A port that nothing has at this moment, by TCP. */
export async function freePort(host = "127.0.0.1"): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const port = randomInt(FIRST, BEHIND_LAST);
    if (await isFree(host, port)) return port;
  }
  throw new Error(`no free port on ${host} in ${TRIES} tries`);
}

export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort());
  return [...ports];
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}
