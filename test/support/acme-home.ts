/**
 * A home that gets certificates: a state folder, a plain port that answers challenges, and an issuer for a CA.
 * `reborn()` gives the same home after a crash: same folder and port, nothing kept in memory.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Challenges, createChallenges } from "../../src/acme/challenges/port-80.ts";
import { type Issuer, type IssuerOptions, createIssuer } from "../../src/acme/issue.ts";
import { createHttpSolver } from "../../src/acme/challenges/solver.ts";
import { systemClock } from "../../src/core/time.ts";
import { type Logger, createLog } from "../../src/observe/log.ts";
import { type BundleStore, type CertificateBundle, createBundleStore } from "../../src/storage/bundles.ts";
import type { Storage } from "../../src/storage/contract.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { Writable } from "node:stream";

export type LogLine = Record<string, unknown> & { event?: string };

/** A log whose lines a test can read. */
export function memoryLog(): { log: Logger; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split("\n").filter(Boolean)) lines.push(JSON.parse(line) as LogLine);
      done();
    },
  });
  return { log: createLog({ level: "debug", pretty: false, destination }), lines };
}

export interface Home {
  httpPort: number;
  folder: string;
  storage: Storage;
  bundles: BundleStore;
  challenges: Challenges;
  /** What was announced, in order. */
  announced: CertificateBundle[];
  lines: LogLine[];
  /** How the plain port answers from now on; by default as Gatehouse does. */
  answerWith(answer: (token: string) => Promise<string | undefined>): void;
  issuer(ca: { directoryUrl: string; caPem: string }, options?: Partial<IssuerOptions>): Issuer;
  /** As if the time had passed that CAs asked for, and all limits were far away. */
  forgetLedgers(): Promise<void>;
  /** Forget everything but the disk. `storage` may be wrapped, to break at a chosen step. */
  reborn(wrap?: (storage: Storage) => Storage): Promise<void>;
  stop(): Promise<void>;
}

export async function makeHome(): Promise<Home> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-home-"));
  const { log, lines } = memoryLog();
  let answer: (token: string) => Promise<string | undefined>;
  const server = createServer((request, response) => {
    const token = request.url?.replace("/.well-known/acme-challenge/", "") ?? "";
    answer(token).then(
      (text) =>
        response.writeHead(text === undefined ? 404 : 200, { "content-type": "application/octet-stream" }).end(text),
      () => response.destroy(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();

  const build = async (wrap: (storage: Storage) => Storage = (storage) => storage) => {
    const storage = wrap(await createFileStorage(folder));
    const challenges = createChallenges({ storage, clock: systemClock });
    answer = (token) => challenges.answerChallenge("test", token);
    return { storage, challenges, bundles: createBundleStore(storage) };
  };

  const home: Home = {
    httpPort: typeof address === "object" && address !== null ? address.port : 0,
    folder,
    announced: [],
    lines,
    ...(await build()),
    answerWith(other) {
      answer = other;
    },
    issuer: ({ directoryUrl, caPem }, options = {}) =>
      createIssuer({
        directoryUrl,
        roots: caPem,
        storage: home.storage,
        bundles: home.bundles,
        solvers: [createHttpSolver(home.challenges)],
        clock: systemClock,
        log,
        onIssued: (bundle) => void home.announced.push(bundle),
        ...options,
      }),
    async forgetLedgers() {
      for (const key of await home.storage.list("acme"))
        if (key.endsWith("/ledger.json")) await home.storage.remove(key);
    },
    async reborn(wrap) {
      Object.assign(home, await build(wrap));
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
  return home;
}

/** For calls of `issue` that nobody stops. */
export const noSignal = (): AbortSignal => new AbortController().signal;
