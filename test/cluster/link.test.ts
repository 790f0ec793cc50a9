/**
 * Questions between two processes: answers, failures that keep their meaning, deadlines and ends.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLink, type Link } from "../../src/cluster/link.ts";
import { GatehouseError, isGatehouseError } from "../../src/core/errors.ts";

interface Here {
  double(value: number): Promise<number>;
}
interface There {
  greet(name: string): string;
  refuse(): void;
  think(): Promise<void>;
  fail(): void;
}

/** Two ends that talk through structured clones, as processes do. */
function pair(): { link: Link<There>; other: Link<Here> } {
  const link: Link<There> = createLink<Here, There>({
    ours: { double: (value) => Promise.resolve(value * 2) },
    send: (message) => queueMicrotask(() => other.receive(structuredClone(message))),
  });
  const other: Link<Here> = createLink<There, Here>({
    ours: {
      greet: (name) => `hello ${name}`,
      refuse() {
        throw new GatehouseError("GATEHOUSE_PORT_IN_USE", { message: "taken", hint: "take another" });
      },
      think: () => new Promise(() => {}),
      fail() {
        throw new TypeError("x is not a function");
      },
    },
    send: (message) => queueMicrotask(() => link.receive(structuredClone(message))),
  });
  return { link, other };
}

const isLost = (error: unknown) => isGatehouseError(error, "GATEHOUSE_WORKER_FAILED");

test("each side answers the other, each question its own", async () => {
  const { link, other } = pair();
  assert.deepEqual(
    await Promise.all([
      link.ask("greet", ["a"], 1_000),
      other.ask("double", [4], 1_000),
      link.ask("greet", ["b"], 1_000),
    ]),
    ["hello a", 8, "hello b"],
  );
});

test("an error of ours keeps its code and hint, any other its message", async () => {
  const { link } = pair();
  await assert.rejects(link.ask("refuse", [], 1_000), (error) => {
    assert.ok(isGatehouseError(error, "GATEHOUSE_PORT_IN_USE"));
    assert.deepEqual([error.message, error.hint], ["taken", "take another"]);
    return true;
  });
  await assert.rejects(link.ask("fail", [], 1_000), /x is not a function/);
});

test("a question that nobody answers ends at its deadline, and with the channel", async () => {
  const { link } = pair();
  await assert.rejects(link.ask("think", [], 10), isLost);
  const waiting = link.ask("think", [], 60_000);
  link.close();
  await assert.rejects(waiting, isLost);
  await assert.rejects(link.ask("greet", ["a"], 60_000), isLost);
});

test("past a thousand questions without an answer the next is refused at once", async () => {
  const { link } = pair();
  const waiting = Array.from({ length: 1_000 }, () => link.ask("think", [], 60_000));
  await assert.rejects(link.ask("greet", ["a"], 60_000), isLost);
  link.close();
  const outcomes = await Promise.allSettled(waiting);
  assert.ok(outcomes.every(({ status }) => status === "rejected"));
});

test("a channel that cannot send is a channel that is gone", async () => {
  const link = createLink<Here, There>({
    ours: { double: (value) => Promise.resolve(value) },
    send: () => {
      throw new Error("EPIPE");
    },
  });
  await assert.rejects(link.ask("greet", ["a"], 60_000), isLost);
});
