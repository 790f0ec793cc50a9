/**
 * Does an order survive `kill -9` at any moment? The file runs twice: as the test, and (with CHILD set) as the process that
 * is killed, at a moment that chance picks. Some rounds in the suite; all 200 with GATEHOUSE_CRASHES=200.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createChallenges } from "../../src/acme/challenges/port-80.ts";
import { type IssueReason, createIssuer } from "../../src/acme/issue.ts";
import { createHttpSolver } from "../../src/acme/challenges/solver.ts";
import { createBundleStore } from "../../src/storage/bundles.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { type Home, makeHome, memoryLog, noSignal } from "../support/acme-home.ts";
import { type Pebble, startPebble, needsPebble as skip } from "../support/pebble.ts";

interface Task {
  folder: string;
  directoryUrl: string;
  caPem: string;
  name: string;
  reason: IssueReason;
  /** The clock of both processes is ahead by this, so that a certificate of fifty minutes is due. */
  aheadMs: number;
}

const LIFE_S = 3_000;
const AHEAD_MS = 2_000_000;
const rounds = Number(process.env["GATEHOUSE_CRASHES"] ?? 8);
const childText = process.env["GATEHOUSE_TEST_CHILD"];

const clockAhead = (ms: number) => ({ now: () => Date.now() + ms });

async function orderUntilKilled({ folder, directoryUrl, caPem, name, reason, aheadMs }: Task): Promise<void> {
  const clock = clockAhead(aheadMs);
  const storage = await createFileStorage(folder);
  const { log } = memoryLog();
  const issuer = createIssuer({
    directoryUrl,
    roots: caPem,
    storage,
    bundles: createBundleStore(storage),
    solvers: [createHttpSolver(createChallenges({ storage, clock }))],
    clock,
    log,
    onIssued: () => {},
  });
  process.stdout.write("begins\n");
  await issuer.issue(name, reason, noSignal());
  process.stdout.write("done\n");
  await sleep(60_000);
}

if (childText !== undefined) await orderUntilKilled(JSON.parse(childText) as Task);
else {
  describe(`an issuer that is killed ${rounds} times`, { skip, timeout: 60_000 + rounds * 20_000 }, () => {
    let home: Home;
    let pebble: Pebble;
    before(async () => {
      home = await makeHome();
      pebble = await startPebble(undefined, { httpPort: home.httpPort, validitySeconds: LIFE_S });
    });
    after(async () => {
      await pebble?.stop();
      await home?.stop();
    });

    /** Runs one and kills it; resolves with whether it was done before. */
    async function killOne(task: Task, afterMs: number): Promise<"before" | "done"> {
      const env = { ...process.env, GATEHOUSE_TEST_CHILD: JSON.stringify(task) };
      const child = spawn(process.execPath, [import.meta.filename], { env, stdio: ["ignore", "pipe", "inherit"] });
      let said = "";
      child.stdout.setEncoding("utf8");
      const begins = new Promise<void>((resolve, reject) => {
        child.stdout.on("data", (text: string) => {
          said += text;
          if (said.includes("begins")) resolve();
        });
        child.once("exit", () => reject(new Error("it ended before it began")));
      });
      await begins;
      await sleep(afterMs);
      child.kill("SIGKILL");
      await once(child, "exit");
      return said.includes("done") ? "done" : "before";
    }

    test("nothing is lost, nothing is torn, and no death costs more than one order", async (t) => {
      const tally = { extra: 0, done: 0, left: 0 };
      let usualMs = 0;
      for (let round = 0; round < rounds; round++) {
        const name = `crash${round}.example.org`;
        const isRenewal = round % 2 === 1;
        const { folder } = home;
        const task: Task = {
          folder,
          directoryUrl: pebble.directoryUrl,
          caPem: pebble.caPem,
          name,
          reason: isRenewal ? "renewal" : "first",
          aheadMs: isRenewal ? AHEAD_MS : 0,
        };
        const startedAt = performance.now();
        const old = isRenewal ? await home.issuer(pebble).issue(name, "first", noSignal()) : undefined;
        if (isRenewal) usualMs = performance.now() - startedAt;
        await home.forgetLedgers(); // some hundred orders an hour are not what they are for
        const spent = pebble.orders();
        const outcome = await killOne(task, Math.random() * Math.max(usualMs, 200) * 1.1);
        if (outcome === "done") tally.done++;

        await home.reborn();
        const torn: string[] = [];
        const bundles = createBundleStore(home.storage, (each, generation, reason) =>
          torn.push(`${each} ${generation} ${reason}`),
        );
        const found = await bundles.load(name);
        // A save that was cut short before it became current is left out, by name; what is current must be whole.
        const isCurrent = (await home.storage.read(`certs/${name}/current`)) !== undefined;
        if (isCurrent) assert.deepEqual(torn, [], "what is current is torn");
        if (old !== undefined) assert.ok(found, "the certificate that served is gone");
        const bundle = await home
          .issuer(pebble, { clock: clockAhead(task.aheadMs) })
          .issue(name, task.reason, noSignal());
        assert.notEqual(bundle.serial, old?.serial);
        assert.equal((await bundles.load(name))?.serial, bundle.serial);
        const orders = pebble.orders() - spent;
        assert.ok(orders === 1 || orders === 2, `${orders} orders in round ${round}`);
        tally.extra += orders - 1;
        // Killed between saving and clearing away: the next renewal knows the order by its key and drops it.
        for (const key of (await home.storage.list("acme")).filter((each) => each.endsWith(`/orders/${name}.json`))) {
          const order = JSON.parse((await home.storage.read(key))?.toString() ?? "{}") as { keyPem?: string };
          assert.equal(order.keyPem, bundle.keyPem, "an order with another key is left behind");
          tally.left++;
        }
      }
      t.diagnostic(
        `${rounds} deaths: ${tally.done} after the end, ${tally.extra} cost an order, ${tally.left} before clearing away`,
      );
    });
  });
}
