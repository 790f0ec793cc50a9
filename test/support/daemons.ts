/**
 * Servers from Debian as counterparts: on a port of their own, ended with the test.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import type { TestContext } from "node:test";

export { freePort } from "./ports.ts";

/** Resolves when something accepts on the port; rejects with what the program said when it ends before. */
export async function startDaemon(
  t: TestContext,
  program: string,
  args: readonly string[],
  port: number,
  host = "127.0.0.1",
): Promise<{ pid: number }> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4_000)));
  }
  let hasEnded = false;
  const ended = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      said += error.message;
      resolve();
    });
    child.once("close", () => resolve());
  }).then(() => (hasEnded = true));
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const until = performance.now() + 15_000;
  while (!(await accepts(port, host))) {
    if (hasEnded || performance.now() > until) throw new Error(`${program} does not listen on ${port}: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { pid: child.pid ?? 0 };
}

async function accepts(port: number, host: string): Promise<boolean> {
  const socket = connect(port, host);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
