/**
 * Who is let in on demand: by pattern, by question, so many an hour and so many altogether; and who has to go again.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { type DemandRules, createOnDemand } from "../../src/acme/on-demand/on-demand.ts";
import { askWhetherWanted } from "../../src/acme/on-demand/ask.ts";
import type { Storage } from "../../src/storage/contract.ts";
import { memoryLog } from "../support/acme-home.ts";
import { memoryStorage } from "../support/memory-storage.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const URL = "http://127.0.0.1:9/wanted";

const site = (changes: Partial<DemandRules> = {}): DemandRules => ({
  site: "*.shop.test",
  ask: URL,
  match: [],
  perHour: 3,
  most: 5,
  ...changes,
});

interface Answers {
  /** What the operator's program says; an error: nothing. */
  ask?: (name: string) => boolean | Error;
  certificates?: Set<string>;
  storage?: Storage;
}

async function open(
  rules: DemandRules[],
  { ask = () => true, certificates = new Set(), storage = memoryStorage() }: Answers = {},
) {
  const { log, lines } = memoryLog();
  const world = { now: Date.UTC(2027, 0, 1), asked: [] as string[], changes: 0 };
  const onDemand = await createOnDemand({
    storage,
    clock: { now: () => world.now },
    log,
    async ask(url, name) {
      assert.equal(url, URL);
      world.asked.push(name);
      const answer = ask(name);
      if (answer instanceof Error) throw answer;
      return answer;
    },
    hasCertificate: async (name) => certificates.has(name),
    changed: () => void world.changes++,
  });
  onDemand.apply(rules);
  const wish = async (...names: string[]): Promise<string[]> => {
    for (const name of names) {
      onDemand.wish(name);
      await onDemand.settled();
    }
    return onDemand.names();
  };
  return { onDemand, world, lines, storage, wish };
}

test("a name that is wanted is let in once, one that is not is not asked about again for an hour", async () => {
  const { wish, world } = await open([site()], { ask: (name) => name.startsWith("good") });
  assert.deepEqual(await wish("good.shop.test", "bad.shop.test"), ["good.shop.test"]);
  await wish("good.shop.test", "bad.shop.test", "bad.shop.test");
  assert.deepEqual(world.asked, ["good.shop.test", "bad.shop.test"]);
  assert.equal(world.changes, 1);
  world.now += HOUR + 1;
  await wish("bad.shop.test");
  assert.equal(world.asked.length, 3);
});

test("a program that does not answer is asked again after a minute, and nobody is let in meanwhile", async () => {
  let isUp = false;
  const { wish, world, lines } = await open([site()], { ask: () => isUp || new Error("refused") });
  assert.deepEqual(await wish("a.shop.test", "a.shop.test"), []);
  assert.equal(world.asked.length, 1);
  assert.ok(lines.some(({ event }) => event === "on_demand.unanswered"));
  isUp = true;
  world.now += 60_001;
  assert.deepEqual(await wish("a.shop.test"), ["a.shop.test"]);
});

const patterns: [match: string[], label: string, isLetIn: boolean][] = [
  [[], "anything", true],
  [["shop-*"], "shop-1", true],
  [["shop-*"], "shop-", true],
  [["shop-*"], "my-shop-1", false],
  [["a*b*c"], "aXbYc", true],
  [["a*b*c"], "aXcYb", false],
  [["a*b*c"], "abc", true],
  [["ab*ba"], "aba", false],
  [["*x*"], "axb", true],
  [["*x*"], "abc", false],
  [["one", "two"], "two", true],
  [["one", "two"], "twoo", false],
  [["a*a*a*a*a*a*a*b"], "a".repeat(63), false],
];
for (const [match, label, isLetIn] of patterns) {
  test(`with the patterns ${JSON.stringify(match)} ${label.slice(0, 20)} is ${isLetIn ? "let in" : "not even asked about"}`, async () => {
    const { wish, world } = await open([site({ match })]);
    assert.deepEqual(await wish(`${label}.shop.test`), isLetIn ? [`${label}.shop.test`] : []);
    assert.equal(world.asked.length, isLetIn ? 1 : 0);
  });
}

test("a pattern alone lets in without a question; deeper names, the star's parent and other houses are nobody's", async () => {
  const { wish, world } = await open([site({ ask: undefined, match: ["s*"] })]);
  assert.deepEqual(await wish("s1.shop.test", "s.s1.shop.test", "shop.test", "s1.other.test", "s1", ""), [
    "s1.shop.test",
  ]);
  assert.deepEqual(world.asked, []);
});

test("so many an hour and so many altogether, over a restart; who comes too late may come again", async () => {
  const { wish, world, storage, lines } = await open([site()]);
  const names = Array.from({ length: 9 }, (_, at) => `n${at}.shop.test`);
  assert.deepEqual(await wish(...names), names.slice(0, 3));
  assert.equal(world.asked.length, 3, "nobody is asked about names that there is no room for");
  assert.equal(lines.filter(({ event }) => event === "on_demand.full").length, 1);
  const restarted = await open([site()], { storage });
  assert.deepEqual(await restarted.wish(...names), names.slice(0, 3), "the hour goes on after a restart");
  restarted.world.now += HOUR;
  assert.deepEqual(await restarted.wish(...names), names.slice(0, 5), "no more than five altogether");
  restarted.world.now += DAY;
  assert.deepEqual(await restarted.wish(...names), names.slice(0, 5));
});

test("a flood of unknown names is a trickle of questions, and a few at a time", async () => {
  const held = Promise.withResolvers<boolean>();
  let asked = 0;
  const onDemand = await createOnDemand({
    storage: memoryStorage(),
    clock: { now: () => 1_000_000_000_000 },
    log: memoryLog().log,
    ask: () => (asked++, held.promise),
    hasCertificate: async () => false,
    changed: () => {},
  });
  onDemand.apply([site()]);
  for (let at = 0; at < 5_000; at++) onDemand.wish(`n${at}.shop.test`);
  assert.equal(asked, 10);
  held.resolve(false);
  await onDemand.settled();
  for (let at = 5_000; at < 10_000; at++) {
    onDemand.wish(`n${at}.shop.test`);
    await onDemand.settled();
  }
  assert.equal(asked, 60, "more than sixty questions in a minute");
});

test("of many that are asked about at the same time no more are let in than there is room for", async () => {
  const held = Promise.withResolvers<boolean>();
  const onDemand = await createOnDemand({
    storage: memoryStorage(),
    clock: { now: () => 1_000_000_000_000 },
    log: memoryLog().log,
    ask: () => held.promise,
    hasCertificate: async () => false,
    changed: () => {},
  });
  onDemand.apply([site({ perHour: 3 })]);
  for (let at = 0; at < 10; at++) onDemand.wish(`n${at}.shop.test`);
  held.resolve(true);
  await onDemand.settled();
  assert.equal(onDemand.names().length, 3);
});

test("who could not be proved for a day, or is no longer wanted, goes; who merely gets no answer stays", async () => {
  const wanted = new Map<string, boolean | Error>();
  const certificates = new Set(["old.shop.test", "gone.shop.test", "silent.shop.test"]);
  const { wish, onDemand, world } = await open([site({ perHour: 10 })], {
    ask: (name) => wanted.get(name) ?? true,
    certificates,
  });
  await wish("old.shop.test", "gone.shop.test", "silent.shop.test", "elsewhere.shop.test");
  world.now += DAY - HOUR;
  await onDemand.review();
  assert.equal(onDemand.names().length, 4, "nobody goes before the day is over");
  wanted.set("gone.shop.test", false).set("silent.shop.test", new Error("refused"));
  world.now += HOUR;
  const changes = world.changes;
  await onDemand.review();
  assert.deepEqual(onDemand.names(), ["old.shop.test", "silent.shop.test"]);
  assert.equal(world.changes, changes + 1);
  assert.deepEqual(await wish("gone.shop.test"), ["old.shop.test", "silent.shop.test"], "not again at once");
});

test("a reload drops whom the new rules do not want, and a damaged list is an empty one", async () => {
  const { wish, onDemand, storage } = await open([site()]);
  await wish("a-1.shop.test", "b-1.shop.test");
  onDemand.apply([site({ match: ["b-*"] })]);
  assert.deepEqual(onDemand.names(), ["b-1.shop.test"]);
  onDemand.apply([]);
  assert.deepEqual(onDemand.names(), []);
  await onDemand.settled();
  await storage.write("acme/on-demand.json", "{ torn");
  assert.deepEqual((await open([site()], { storage })).onDemand.names(), []);
});

async function program(t: TestContext, answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/wanted?token=x`;
}

const answers: [status: number, is: boolean | "unknown"][] = [
  [200, true],
  [204, false],
  [302, false],
  [403, false],
  [404, false],
  [500, "unknown"],
  [503, "unknown"],
];
for (const [status, is] of answers) {
  test(`a program that answers ${status} says ${String(is)}`, async (t) => {
    const seen: (string | undefined)[] = [];
    const url = await program(t, (req, res) => {
      seen.push(req.url);
      res.writeHead(status, { location: "/elsewhere" }).end("x".repeat(100_000));
    });
    const answer = await askWhetherWanted(url, "a.shop.test").catch(() => "unknown");
    assert.equal(answer, is);
    assert.deepEqual(seen, ["/wanted?token=x&domain=a.shop.test"]);
  });
}
