/**
 * Certificates that are read when a client first asks for their name.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { CertificateBundle } from "../../src/storage/bundles.ts";
import { type Arrivals, createArrivals } from "../../src/tls/arrivals.ts";

const bundleFor = (name: string) => ({ name }) as CertificateBundle;

/** Arrivals over a storage that answers when it is told to. */
function slowStorage(): {
  arrivals: Arrivals;
  asked: string[];
  arrived: string[];
  answer(name: string, isThere?: boolean): void;
} {
  const asked: string[] = [];
  const arrived: string[] = [];
  const answers = new Map<string, (bundle: CertificateBundle | undefined) => void>();
  const arrivals = createArrivals({
    fetch: (name) => {
      asked.push(name);
      return new Promise((resolve) => answers.set(name, resolve));
    },
    arrived: ({ name }) => arrived.push(name),
  });
  return {
    arrivals,
    asked,
    arrived,
    answer: (name, isThere = true) => answers.get(name)?.(isThere ? bundleFor(name) : undefined),
  };
}

test("a hundred clients of one name cost one read, and all of them wait for it", async () => {
  const { arrivals, asked, arrived, answer } = slowStorage();
  arrivals.expect(["a.test", "b.test"]);
  const waiting = Array.from({ length: 100 }, () => arrivals.arrival("a.test"));
  assert.ok(waiting.every((one) => one instanceof Promise));
  answer("a.test");
  await Promise.all(waiting);
  assert.deepEqual(asked, ["a.test"]);
  assert.deepEqual(arrived, ["a.test"]);
});

test("what has come, and what was never expected, makes nobody wait", async () => {
  const { arrivals, asked, answer } = slowStorage();
  arrivals.expect(["a.test"]);
  const first = arrivals.arrival("a.test");
  answer("a.test");
  await first;
  assert.equal(arrivals.arrival("a.test"), undefined);
  assert.equal(arrivals.arrival("stranger.test"), undefined);
  assert.deepEqual(asked, ["a.test"]);
});

test("a name without a certificate in storage is asked for once; then it is pending like any other", async () => {
  const { arrivals, arrived, answer } = slowStorage();
  arrivals.expect(["new.test"]);
  const first = arrivals.arrival("new.test");
  answer("new.test", false);
  await first;
  assert.deepEqual(arrived, []);
  assert.equal(arrivals.arrival("new.test"), undefined);
});

test("a certificate that was issued during the read is not replaced by the older one that was read", async () => {
  const { arrivals, arrived, answer } = slowStorage();
  arrivals.expect(["a.test"]);
  const reading = arrivals.arrival("a.test");
  arrivals.forget("a.test");
  answer("a.test");
  await reading;
  assert.deepEqual(arrived, []);
});
