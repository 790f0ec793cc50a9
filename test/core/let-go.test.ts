/**
 * A closed socket holds nobody, and everybody has heard of its end.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { letGo } from "../../src/core/let-go.ts";
import { memoryHeldHere } from "../support/held-memory.ts";

const stream = (): Duplex => new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });

test("everybody who waits for the end hears of it, before and behind", async () => {
  const socket = stream();
  const heard: string[] = [];
  socket.on("close", () => heard.push("first"));
  socket.on("close", () => letGo(socket));
  socket.once("close", () => heard.push("behind"));
  const closed = once(socket, "close");
  socket.destroy();
  await closed;
  assert.deepEqual(heard, ["first", "behind"]);
  assert.deepEqual(socket.eventNames(), ["error"]);
  // Late, and nobody's business any more.
  socket.emit("error", new Error("late"));
});

test("what its listeners know can be collected while the socket is kept", async () => {
  const socket = stream();
  const known = ((): WeakRef<object> => {
    const knows = { much: Array.from({ length: 1_000 }, () => 1) };
    socket.on("data", () => knows.much.pop());
    return new WeakRef(knows);
  })();
  socket.on("close", () => letGo(socket));
  socket.destroy();
  await once(socket, "close");
  // A WeakRef that was made in this turn of the loop holds until the next.
  await new Promise(setImmediate);
  memoryHeldHere();
  assert.equal(known.deref(), undefined);
  assert.ok(socket.destroyed);
});
