/**
 * An accepted socket that reads into one buffer: on this Node it is really so.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { findReadingNames, readInto } from "../../src/core/read-into.ts";

async function pair(t: TestContext): Promise<{ accepted: Socket; client: Socket }> {
  const server = createServer({ pauseOnConnect: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect({ host: "127.0.0.1", port: (server.address() as AddressInfo).port });
  const [accepted] = (await once(server, "connection")) as [Socket];
  t.after(() => {
    client.destroy();
    accepted.destroy();
    server.close();
  });
  return { accepted, client };
}

test("pieces come in the buffer that is named before each, a no stops the reading, and the end is heard", async (t) => {
  const { accepted, client } = await pair(t);
  const buffers: Buffer[] = [];
  const pieces: string[] = [];
  let arrived = (): void => {};
  const isOurs = readInto(accepted, findReadingNames(), {
    buffer: () => {
      const next = Buffer.alloc(64);
      buffers.push(next);
      return next;
    },
    callback(size, bytes) {
      assert.equal(bytes.buffer, buffers.at(-1)?.buffer);
      pieces.push(Buffer.from(bytes.subarray(0, size)).toString());
      arrived();
      return pieces.length !== 2;
    },
  });
  assert.ok(isOurs, "this Node has changed: what is forwarded costs twice as much");
  const next = () => new Promise<void>((resolve) => (arrived = resolve));
  accepted.resume();
  for (const word of ["first", "second"]) {
    const came = next();
    client.write(word);
    await came;
  }
  client.end("third");
  // Nobody reads: what comes waits in the kernel, and the end behind it.
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(pieces, ["first", "second"]);
  const ended = once(accepted, "end");
  accepted.resume();
  await ended;
  assert.deepEqual(pieces, ["first", "second", "third"]);
});

test("where something waits on the stream already, or Node has changed, nothing is done", async (t) => {
  const { accepted, client } = await pair(t);
  const onread = { buffer: Buffer.alloc(64), callback: () => true };
  assert.equal(readInto(accepted, undefined, onread), false);
  accepted.unshift("peeked");
  assert.equal(readInto(accepted, findReadingNames(), onread), false);
  const heard = once(accepted, "data");
  accepted.resume();
  assert.equal(String((await heard)[0]), "peeked");
  client.destroy();
});
