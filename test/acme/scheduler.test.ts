/**
 * Who is ordered for, when, and what survives a restart? A clock of our own; the CA is a function.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { IssueReason } from "../../src/acme/issue.ts";
import { createScheduler } from "../../src/acme/schedule/scheduler.ts";
import type { Scheduler, SchedulerOptions } from "../../src/acme/schedule/contract.ts";
import { GatehouseError, isGatehouseError } from "../../src/core/errors.ts";
import type { BundleStore, CertificateBundle } from "../../src/storage/bundles.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { memoryLog } from "../support/acme-home.ts";

const MINUTE = 60_000;
const DAY = 86_400_000;
const START = Date.UTC(2027, 0, 1);
const CA = "https://ca.example/directory";

interface Call {
  name: string;
  reason: IssueReason;
  at: number;
  signal: AbortSignal;
}

/** A world: a clock, a disk, a CA. `start()` again is a restart: the clock and the disk stay. */
async function makeWorld(t: TestContext, life = 90 * DAY) {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-scheduler-"));
  const storage = await createFileStorage(folder);
  const stored = new Map<string, CertificateBundle>();
  const bundles: BundleStore = {
    load: (name) => Promise.resolve(stored.get(name)),
    save: (bundle) => Promise.resolve(void stored.set(bundle.name, bundle)),
    list: () => Promise.resolve([...stored.keys()]),
    remove: (name) => Promise.resolve(Number(stored.delete(name))),
  };
  const { log, lines } = memoryLog();
  const calls: Call[] = [];
  let serial = 0;
  const world = {
    now: START,
    calls,
    lines,
    stored,
    storage,
    running: [] as Scheduler[],
    make(name: string, ca = CA): CertificateBundle {
      const hex = (++serial).toString(16).toUpperCase().padStart(8, "0");
      const dates = { notBefore: world.now, notAfter: world.now + life, issuedAt: world.now };
      return { name, names: [name], keyPem: "", chainPem: "", issuer: "test", serial: hex, ca, ...dates };
    },
    /** What the CA does; replace it to fail. */
    issue(call: Call): Promise<CertificateBundle> {
      const bundle = world.make(call.name);
      stored.set(call.name, bundle);
      return Promise.resolve(bundle);
    },
    start(names: readonly string[], options: Partial<SchedulerOptions> = {}): Scheduler {
      const scheduler = createScheduler({
        ca: CA,
        issue: (name, reason, signal) => {
          const call = { name, reason, signal, at: world.now };
          calls.push(call);
          return world.issue(call);
        },
        bundles,
        storage,
        clock: { now: () => world.now },
        log,
        random: () => 0,
        tickMs: 2,
        ...options,
      });
      world.running.push(scheduler);
      scheduler.setNames(names);
      return scheduler;
    },
  };
  t.after(async () => {
    for (const scheduler of world.running) await scheduler.stop();
    await rm(folder, { recursive: true, force: true });
  });
  return world;
}

async function until(what: string, isTrue: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!isTrue()) {
    if (performance.now() > deadline) assert.fail(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Enough ticks that whatever is due has been done. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 30));

const failWith = (reason: Error) => (): Promise<CertificateBundle> => Promise.reject(reason);
const down = new GatehouseError("GATEHOUSE_ACME_UNAVAILABLE", { message: "The CA is down.", hint: "Wait." });

test("names without a certificate are ordered first, in their order, one at a time; valid ones are left alone", async (t) => {
  const world = await makeWorld(t);
  world.stored.set("have", world.make("have"));
  let inFlight = 0;
  const plain = world.issue;
  world.issue = async (call) => {
    assert.equal(++inFlight, 1);
    await new Promise((resolve) => setTimeout(resolve, 3));
    inFlight--;
    return plain(call);
  };
  const scheduler = world.start(["have", "c", "a", "b"]);
  await until("three orders", () => scheduler.status().every(({ state }) => state === "valid"));
  await settle();
  assert.deepEqual(
    world.calls.map(({ name, reason }) => [name, reason]),
    [
      ["c", "first"],
      ["a", "first"],
      ["b", "first"],
    ],
  );
});

test("a certificate is renewed when a third of its life is left, again and again, and not before", async (t) => {
  const world = await makeWorld(t);
  const scheduler = world.start(["a"]);
  await until("the first", () => scheduler.status()[0]?.state === "valid");
  for (let round = 1; round <= 5; round++) {
    const { nextTry = 0, notBefore = 0 } = scheduler.status()[0] ?? {};
    assert.ok(nextTry - notBefore >= 60 * DAY && nextTry - notBefore <= 61 * DAY);
    world.now = nextTry - 1;
    await settle();
    assert.equal(world.calls.length, round);
    world.now = nextTry;
    await until("a renewal", () => scheduler.status()[0]?.notBefore === nextTry);
    assert.equal(world.calls.at(-1)?.reason, "renewal");
  }
});

test("the least time left is renewed first after a long sleep", async (t) => {
  const world = await makeWorld(t);
  for (const name of ["late", "later", "latest"]) {
    world.stored.set(name, world.make(name));
    world.now += DAY;
  }
  world.now += 80 * DAY;
  world.start(["latest", "late", "later"]);
  await until("three", () => world.calls.length === 3);
  assert.deepEqual(
    world.calls.map(({ name }) => name),
    ["late", "later", "latest"],
  );
});

test("after failures the wait is 1, 10, 100 minutes and then a day, and success wipes the slate", async (t) => {
  const world = await makeWorld(t);
  const good = world.issue;
  world.issue = failWith(down);
  const scheduler = world.start(["a"]);
  for (const [tries, wait] of [MINUTE, 10 * MINUTE, 100 * MINUTE, DAY, DAY].entries()) {
    await until("a failure", () => scheduler.status()[0]?.consecutiveFailures === tries + 1);
    assert.equal((scheduler.status()[0]?.nextTry ?? 0) - world.now, wait);
    world.now += wait - 1;
    await settle();
    assert.equal(world.calls.length, tries + 1);
    world.now += 1;
    await until("the next try", () => world.calls.length === tries + 2);
  }
  await until("the sixth failure", () => scheduler.status()[0]?.consecutiveFailures === 6);
  const status = scheduler.status()[0];
  assert.equal(status?.state, "pending");
  assert.equal(status?.lastError, "The CA is down. Wait.");
  world.issue = good;
  world.now += DAY;
  await until("success", () => scheduler.status()[0]?.state === "valid");
  assert.equal(scheduler.status()[0]?.consecutiveFailures, 0);
  assert.deepEqual(await world.storage.list("acme/failures"), []);
});

test("fifty restarts in a row make one order", async (t) => {
  const world = await makeWorld(t);
  world.issue = failWith(down);
  for (let restart = 0; restart < 50; restart++) {
    const scheduler = world.start(["a"]);
    await until("the failure is known", () => scheduler.status()[0]?.consecutiveFailures === 1);
    await scheduler.stop();
  }
  assert.equal(world.calls.length, 1);
});

test("what a CA asked for is kept over a restart, and even a person waits for it", async (t) => {
  const world = await makeWorld(t);
  const notBefore = START + 3 * DAY;
  world.issue = failWith(new GatehouseError("GATEHOUSE_ACME_RATE_LIMITED", { message: "Too many.", notBefore }));
  const first = world.start(["a"]);
  await until("the refusal", () => first.status()[0]?.consecutiveFailures === 1);
  await first.stop();
  const second = world.start(["a"]);
  await until("it is known", () => second.status()[0]?.nextTry === notBefore);
  await assert.rejects(second.renewNow("a"), (error) => isGatehouseError(error, "GATEHOUSE_ACME_RATE_LIMITED"));
  assert.equal(world.calls.length, 1);
  world.now = notBefore;
  await until("the next try", () => world.calls.length === 2);
});

test("failures at one CA do not hold back another", async (t) => {
  const world = await makeWorld(t);
  const good = world.issue;
  world.issue = failWith(new GatehouseError("GATEHOUSE_ACME_REFUSED", { message: "No." }));
  const first = world.start(["a"]);
  await until("the refusal", () => first.status()[0]?.state === "refused");
  await first.stop();
  world.issue = good;
  world.start(["a"], { ca: "local" });
  await until("the other CA is asked", () => world.calls.length === 2);
});

test("a back-off written by a clock that was years ahead does not last for years", async (t) => {
  const world = await makeWorld(t);
  world.now = START + 4_000 * DAY;
  world.issue = failWith(down);
  const ahead = world.start(["a"]);
  await until("the failure", () => ahead.status()[0]?.consecutiveFailures === 1);
  await ahead.stop();
  world.now = START;
  const scheduler = world.start(["a"]);
  await until("it is known", () => scheduler.status()[0]?.consecutiveFailures === 1);
  assert.equal(scheduler.status()[0]?.nextTry, START + MINUTE);
});

test("a certificate of another CA is replaced at once", async (t) => {
  const world = await makeWorld(t);
  world.stored.set("a", world.make("a", "local"));
  const scheduler = world.start(["a"]);
  await until("the order", () => world.calls.length === 1);
  assert.equal(world.calls[0]?.reason, "renewal");
  assert.equal(scheduler.status()[0]?.state, "valid");
});

test("a name that leaves the configuration in the middle of its order is cancelled, and the others go on", async (t) => {
  const world = await makeWorld(t);
  const good = world.issue;
  world.issue = (call) =>
    call.name !== "slow"
      ? good(call)
      : new Promise((_, reject) => call.signal.addEventListener("abort", () => reject(call.signal.reason as Error)));
  const scheduler = world.start(["slow", "b"]);
  await until("the slow order", () => world.calls.length === 1);
  scheduler.setNames(["b"]);
  await until("the other", () => scheduler.status()[0]?.state === "valid");
  assert.ok(world.calls[0]?.signal.aborted);
  assert.deepEqual(
    scheduler.status().map(({ name }) => name),
    ["b"],
  );
  assert.deepEqual(await world.storage.list("acme/failures"), []);
});

test("stop aborts what is under way, waits for its end, counts no failure, and turns the waiting away", async (t) => {
  const world = await makeWorld(t);
  let hasEnded = false;
  world.issue = (call) =>
    new Promise((_, reject) =>
      call.signal.addEventListener("abort", () =>
        setTimeout(() => {
          hasEnded = true;
          reject(call.signal.reason as Error);
        }, 5),
      ),
    );
  const scheduler = world.start(["a"]);
  await until("the order", () => world.calls.length === 1);
  const asked = assert.rejects(scheduler.renewNow("a"), /stopping/);
  await scheduler.stop();
  assert.ok(hasEnded);
  await asked;
  assert.deepEqual(await world.storage.list("acme/failures"), []);
  await settle();
  assert.equal(world.calls.length, 1);
});

test("a person's request does not wait for the back-off, goes first, and learns the reason of a failure", async (t) => {
  const world = await makeWorld(t);
  const good = world.issue;
  world.issue = failWith(down);
  const scheduler = world.start(["a", "b"]);
  await until("both fail", () => scheduler.status().every(({ consecutiveFailures }) => consecutiveFailures === 1));
  await settle(); // a question that comes while an attempt is failing gets that failure
  await assert.rejects(scheduler.renewNow("b"), (error) => error === down);
  world.issue = good;
  const bundle = await scheduler.renewNow("b");
  assert.equal(bundle.name, "b");
  assert.deepEqual(
    world.calls.map(({ name, reason }) => `${name} ${reason}`),
    ["a first", "b first", "b asked", "b asked"],
  );
  await assert.rejects(scheduler.renewNow("nobody"), (error) =>
    isGatehouseError(error, "GATEHOUSE_CERTIFICATE_UNKNOWN_NAME"),
  );
});

test("a renewal that brings nothing newer is not repeated in a loop", async (t) => {
  const world = await makeWorld(t);
  const old = world.make("a");
  world.stored.set("a", old);
  world.now += 89 * DAY;
  world.issue = () => Promise.resolve(old);
  world.start(["a"]);
  await until("a try", () => world.calls.length === 1);
  await settle();
  assert.equal(world.calls.length, 1);
  world.now += MINUTE;
  await until("the next", () => world.calls.length === 2);
});

test("a name twice in the list, an empty list and setNames again with the same names order nothing twice", async (t) => {
  const world = await makeWorld(t);
  const scheduler = world.start([]);
  scheduler.setNames(["a", "a"]);
  scheduler.setNames(["a"]);
  await until("the order", () => scheduler.status()[0]?.state === "valid");
  scheduler.setNames(["a"]);
  await settle();
  assert.equal(world.calls.length, 1);
});

test("a refusal is an error in the log with the next step; a failed renewal with time left is a warning", async (t) => {
  const world = await makeWorld(t);
  world.stored.set("old", world.make("old"));
  world.now += 70 * DAY;
  world.issue = (call) =>
    Promise.reject(
      call.name === "old"
        ? down
        : new GatehouseError("GATEHOUSE_ACME_REFUSED", { message: "No.", hint: "Other name." }),
    );
  const scheduler = world.start(["bad", "old"]);
  await until("both fail", () => scheduler.status().every(({ consecutiveFailures }) => consecutiveFailures === 1));
  const failed = world.lines.filter(({ event }) => event === "certificate.failed");
  assert.deepEqual(
    failed.map(({ name, level, hint }) => ({ name, level, hint })),
    [
      { name: "bad", level: 50, hint: "Other name." },
      { name: "old", level: 40, hint: "Wait." },
    ],
  );
  assert.deepEqual(
    scheduler.status().map(({ state }) => state),
    ["refused", "valid"],
  );
});

test("metrics hear of certificates, orders and failures", async (t) => {
  const world = await makeWorld(t);
  const heard: string[] = [];
  world.issue = ((good) => (call: Call) => (call.name === "bad" ? Promise.reject(down) : good(call)))(world.issue);
  const scheduler = world.start(["good", "bad"], {
    metrics: {
      certificate: (name, facts) => void heard.push(`certificate ${name} ${facts?.source ?? "none"}`),
      acmeOrder: (outcome, reason) => void heard.push(`order ${outcome} ${reason}`),
      acmeConsecutiveFailures: (name, count) => void heard.push(`failures ${name} ${count}`),
    },
  });
  await until("both", () => heard.includes("failures bad 1"));
  scheduler.setNames(["good"]);
  for (const fact of [
    "order success first",
    "order failure unavailable",
    "certificate good ca.example",
    "failures bad 1",
  ]) {
    assert.ok(heard.includes(fact), `${fact} in ${heard.join(", ")}`);
  }
  assert.equal(heard.at(-1), "certificate bad none");
});

test("of two processes on one state folder one orders, both serve, and the other takes over", async (t) => {
  const world = await makeWorld(t);
  const found: string[] = [];
  const leader = world.start(["a", "b"]);
  await until("the leader's orders", () => leader.status().every(({ state }) => state === "valid"));
  const standby = world.start(["a", "b"], { onFound: ({ name }) => void found.push(name) });
  await until("it has read them", () => standby.status().every(({ state }) => state === "valid"));
  await until("it stands by", () => world.lines.some(({ event }) => event === "scheduler.stands_by"));
  const orders = world.calls.length;
  // Both see that the renewal is due; one orders it and the other one finds it.
  world.now += 62 * DAY;
  await until("two renewals", () => world.calls.length === orders + 2);
  world.now += 2 * MINUTE;
  await until("the other has found them", () => found.length === 2);
  await settle();
  assert.equal(world.calls.length, orders + 2);
  assert.deepEqual(found.toSorted(), ["a", "b"]);
  assert.equal((await standby.renewNow("a")).name, "a", "people may ask either");
  await leader.stop();
  world.now += 70 * DAY;
  await until("the other one orders", () => world.calls.length === orders + 5);
});
