/**
 * Does an order survive `kill -9` at each write of its way? The file runs twice: as the test, and (with CHILD set) as the
 * process that is killed. Its tokens are answered by the test's process, from storage, as another worker would.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { createChallenges } from "../../src/acme/challenges/port-80.ts";
import { createIssuer } from "../../src/acme/issue.ts";
import { createHttpSolver } from "../../src/acme/challenges/solver.ts";
import { systemClock } from "../../src/core/time.ts";
import { createBundleStore } from "../../src/storage/bundles.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { type Home, makeHome, memoryLog, noSignal } from "../support/acme-home.ts";
import { type Pebble, startPebble, needsPebble as skip } from "../support/pebble.ts";

interface ChildOrders {
  folder: string;
  directoryUrl: string;
  caPem: string;
  name: string;
  /** Die when a key like this is about to be written, or (`after`) just has been. */
  key: string;
  when: "before" | "after";
}

const childText = process.env["GATEHOUSE_TEST_CHILD"];

async function orderAndDie({ folder, directoryUrl, caPem, name, key, when }: ChildOrders): Promise<void> {
  const disk = await createFileStorage(folder);
  const die = (): void => void process.kill(process.pid, "SIGKILL");
  const storage = {
    ...disk,
    async write(at: string, bytes: Uint8Array | string) {
      const isTheOne = new RegExp(key).test(at);
      if (isTheOne && when === "before") die();
      await disk.write(at, bytes);
      if (isTheOne) die();
    },
  };
  const challenges = createChallenges({ storage, clock: systemClock });
  const { log } = memoryLog();
  const bundles = createBundleStore(storage);
  const tools = {
    storage,
    bundles,
    solvers: [createHttpSolver(challenges)],
    clock: systemClock,
    log,
    onIssued: () => {},
  };
  await createIssuer({ directoryUrl, roots: caPem, ...tools }).issue(name, "first", noSignal());
}

/** Where it dies, and how many orders the CA has seen when the next process is done. */
const deaths: [key: string, when: "before" | "after", orders: number][] = [
  ["account/key", "before", 1],
  ["account/key", "after", 1],
  ["account/account", "before", 1],
  ["orders/", "before", 2],
  ["orders/", "after", 1],
  ["challenges/", "after", 1],
  ["proved/", "after", 1],
  ["^certs/.*key", "before", 1],
  ["^certs/.*chain", "after", 1],
  ["^certs/.*current", "after", 1],
];

if (childText === undefined) {
  describe("an issuer that is killed", { skip, timeout: 300_000 }, () => {
    let home: Home;
    let pebble: Pebble;
    before(async () => {
      home = await makeHome();
      pebble = await startPebble(undefined, { httpPort: home.httpPort });
    });
    after(async () => {
      await pebble?.stop();
      await home?.stop();
    });

    for (const [index, [key, when, orders]] of deaths.entries()) {
      test(`${when} it writes ${key} is followed by one that finishes, with ${orders === 1 ? "no" : "one"} order more`, async () => {
        const name = `k${index}.example.org`;
        const { folder } = home;
        for (const old of await home.storage.list("acme")) await home.storage.remove(old);
        const spent = pebble.orders();
        const childOrders: ChildOrders = {
          folder,
          directoryUrl: pebble.directoryUrl,
          caPem: pebble.caPem,
          name,
          key,
          when,
        };
        const env = { ...process.env, GATEHOUSE_TEST_CHILD: JSON.stringify(childOrders) };
        const child = spawn(process.execPath, [import.meta.filename], { env, stdio: "ignore" });
        const [, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
        assert.equal(signal, "SIGKILL", "it was not killed");
        await home.reborn();
        const bundle = await home.issuer(pebble).issue(name, "first", noSignal());
        assert.equal((await home.bundles.load(name))?.serial, bundle.serial);
        assert.equal(pebble.orders() - spent, orders);
      });
    }
  });
} else {
  await orderAndDie(JSON.parse(childText) as ChildOrders);
}
