/**
 * Somebody honest, as a process of his own: visits a Gatehouse and, in turn, a plain https server that runs beside him.
 * The second tells what is normal on this machine at this moment. Writes one line of JSON per pair of visits.
 *
 * `node visitor.ts PORT NAME`; ends when standard input does.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request as httpsRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { makeCa } from "./certificates.ts";

export interface Visits {
  /** Milliseconds from the first SYN to the last byte. */
  ms: number;
  /** The same at the server that nobody attacks. */
  normalMs: number;
  problem: string | undefined;
}

const CONTROL = "control";
const PAUSE_MS = 50;
/** On a busy machine a visit may wait for all the attackers that came before. */
const PATIENCE_MS = 45_000;

async function visit(port: number, name: string): Promise<{ ms: number; problem: string | undefined }> {
  const at = performance.now();
  const problem = await new Promise<string | undefined>((resolve) => {
    const req = httpsRequest({
      port,
      host: "127.0.0.1",
      servername: name,
      path: "/ok",
      headers: { host: name },
      rejectUnauthorized: false,
      agent: false,
    });
    const timer = setTimeout(() => req.destroy(new Error("no answer")), PATIENCE_MS);
    req.on("response", (res) => {
      res.resume();
      res.on("error", () => {});
      res.on("end", () => resolve(res.statusCode === 200 ? undefined : `status ${res.statusCode}`));
    });
    req.on("error", (error) => resolve(error.message));
    req.on("close", () => clearTimeout(timer));
    req.end();
  });
  return { ms: performance.now() - at, problem };
}

async function control(): Promise<void> {
  const { keyPem, chainPem } = await (await makeCa()).issue({ names: ["localhost"] });
  const server = createServer({ key: keyPem, cert: chainPem }, (_, res) => res.end("ok"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.stdin.on("end", () => process.exit(0)).resume();
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
}

async function visitForEver(port: number, name: string): Promise<void> {
  const beside = spawn(process.execPath, [import.meta.filename, CONTROL], { stdio: ["pipe", "pipe", "inherit"] });
  const [line] = (await once(createInterface({ input: beside.stdout }), "line")) as [string];
  const controlPort = Number(line);
  process.stdin.on("end", () => process.exit(0)).resume();
  for (;;) {
    const normal = await visit(controlPort, "localhost");
    const { ms, problem } = await visit(port, name);
    process.stdout.write(`${JSON.stringify({ ms, problem, normalMs: normal.ms } satisfies Visits)}\n`);
    await wait(PAUSE_MS);
  }
}

if (import.meta.main && process.argv[2] === CONTROL) await control();
else if (import.meta.main) await visitForEver(Number(process.argv[2]), process.argv[3] ?? "");
