/**
 * What does a forwarded UDP port do with datagrams, sessions and forged senders?
 */
import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { eventually } from "../support/eventually.ts";
import { portConfig, startForwards } from "../support/forward-home.ts";

async function socketOn(t: TestContext, port = 0): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.bind(port, "127.0.0.1");
  await once(socket, "listening");
  t.after(() => {
    try {
      socket.close();
    } catch {
      // The test has closed it.
    }
  });
  return socket;
}

/** Answers each datagram with what `answer` makes of it. */
async function startUdpTarget(t: TestContext, answer: (datagram: Buffer, from: number) => Buffer[]): Promise<number> {
  const socket = await socketOn(t);
  socket.on("message", (datagram, { address, port }) => {
    for (const one of answer(datagram, port)) socket.send(one, port, address);
  });
  return socket.address().port;
}

const udpConfig = (target: number, changes: Parameters<typeof portConfig>[1] = {}) =>
  portConfig(target, { protocol: "udp", ...changes });

async function ask(client: Socket, port: number, datagram: Buffer): Promise<{ answer: Buffer; from: number }> {
  const heard = once(client, "message") as Promise<[Buffer, { port: number }]>;
  client.send(datagram, port, "127.0.0.1");
  const [answer, { port: from }] = await heard;
  return { answer, from };
}

test("each client gets its own answers, from the port it wrote to", async (t) => {
  const target = await startUdpTarget(t, (datagram) => [datagram]);
  const { port, forwards } = await startForwards(t, [udpConfig(target)]);
  const clients = await Promise.all(Array.from({ length: 20 }, () => socketOn(t)));
  await Promise.all(
    clients.map(async (client, at) => {
      for (let round = 0; round < 10; round++) {
        const word = Buffer.from(`client ${at} round ${round}`);
        const { answer, from } = await ask(client, port(), word);
        assert.deepEqual(answer, word);
        assert.equal(from, port());
      }
    }),
  );
  assert.equal(forwards.report()[0]?.active, 20);
});

test("datagrams of every size up to the largest go through whole, both ways", async (t) => {
  const target = await startUdpTarget(t, (datagram) => [datagram]);
  const { port } = await startForwards(t, [udpConfig(target)]);
  const client = await socketOn(t);
  for (const size of [0, 1, 148, 1_200, 1_420, 1_472, 9_000, 65_507]) {
    const datagram = Buffer.alloc(size, size % 251);
    assert.deepEqual((await ask(client, port(), datagram)).answer, datagram);
  }
});

test("a sender that never answers gets at most three times what it sent", async (t) => {
  const target = await startUdpTarget(t, () => Array.from({ length: 50 }, () => Buffer.alloc(1_000)));
  const { port, forwards } = await startForwards(t, [udpConfig(target)]);
  const client = await socketOn(t);
  let heard = 0;
  client.on("message", (datagram) => (heard += datagram.length));
  client.send(Buffer.alloc(1_000), port(), "127.0.0.1");
  await eventually("the rest was dropped", () => (forwards.report()[0]?.refused ?? 0) >= 47);
  assert.equal(heard, 3_000);
  // Now it has answered an answer: its address is its own.
  client.send(Buffer.alloc(1), port(), "127.0.0.1");
  await eventually("all of it comes", () => heard === 53_000);
});

test("5,000 clients stay within the bound, and the one that really talks is not pushed out", async (t) => {
  // Says from which port it was asked: a session that began anew would come from another one.
  const target = await startUdpTarget(t, (_, from) => [Buffer.from(String(from))]);
  const { port, forwards } = await startForwards(t, [udpConfig(target, { sessions: 100 })]);
  const friend = await socketOn(t);
  await ask(friend, port(), Buffer.from("hello"));
  const { answer: outlet } = await ask(friend, port(), Buffer.from("it is me"));
  let most = 0;
  for (let group = 0; group < 50; group++) {
    const strangers = await Promise.all(Array.from({ length: 100 }, () => socketOn(t)));
    for (const stranger of strangers) stranger.send("flood", port(), "127.0.0.1");
    const wanted = (group + 1) * 50;
    await eventually("most of them were heard", () => (forwards.report()[0]?.total ?? 0) >= wanted);
    most = Math.max(most, forwards.report()[0]?.active ?? 0);
    for (const stranger of strangers) stranger.close();
  }
  assert.ok(most <= 100, `${most} sessions at once`);
  assert.deepEqual((await ask(friend, port(), Buffer.from("still here"))).answer, outlet);
});

test("who is not on the list hears nothing, and neither does the target", async (t) => {
  let heard = 0;
  const target = await startUdpTarget(t, () => {
    heard++;
    return [];
  });
  const { port, forwards } = await startForwards(t, [udpConfig(target, { allow: ["192.0.2.0/24"] })]);
  const client = await socketOn(t);
  client.send("knock", port(), "127.0.0.1");
  await eventually("it was turned away", () => forwards.report()[0]?.refused === 1);
  assert.equal(heard, 0);
});

test("a target that is off is reported once, and serves when it comes back", async (t) => {
  const socket = await socketOn(t);
  const { port: target } = socket.address();
  socket.close();
  const { port, forwards, log } = await startForwards(t, [udpConfig(target)]);
  const client = await socketOn(t);
  await eventually("the failure is seen", () => {
    client.send("anybody?", port(), "127.0.0.1");
    return forwards.report()[0]?.target?.ok === false;
  });
  const back = await socketOn(t, target);
  back.on("message", (datagram, { address, port: from }) => back.send(datagram, from, address));
  const heard = once(client, "message");
  await eventually("it answers", () => {
    client.send("now", port(), "127.0.0.1");
    return forwards.report()[0]?.target?.ok === true;
  });
  await heard;
  assert.equal(log.lines().filter(({ event }) => event === "forward.target_failed").length, 1);
});

test("a silent session ends, and its port towards the target with it", async (t) => {
  const target = await startUdpTarget(t, (datagram) => [datagram]);
  const { port, forwards } = await startForwards(t, [udpConfig(target, { idleMs: 200 })]);
  const client = await socketOn(t);
  await ask(client, port(), Buffer.from("one"));
  await ask(client, port(), Buffer.from("two"));
  assert.equal(forwards.report()[0]?.active, 1);
  await eventually("it has ended", () => forwards.report()[0]?.active === 0, 15_000);
});

test("after an edit of its target a session goes to the new one", async (t) => {
  const first = await startUdpTarget(t, () => [Buffer.from("first")]);
  const second = await startUdpTarget(t, () => [Buffer.from("second")]);
  const config = udpConfig(first);
  const { port, forwards } = await startForwards(t, [config]);
  const client = await socketOn(t);
  assert.equal((await ask(client, port(), Buffer.alloc(9))).answer.toString(), "first");
  await forwards.apply([{ ...config, target: { host: "127.0.0.1", port: second, text: "" } }]);
  assert.equal((await ask(client, port(), Buffer.alloc(9))).answer.toString(), "second");
});
