/**
 * Attacks that need time or a second message: T01 to T12 of the conformance list, through every HTTP/1.1 lane. (T10 and
 * T11 are in http1.test.ts, T08 is D23 there and in front.test.ts, T05 in upgrade.test.ts, T13 to T20 in h2.test.ts.)
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SiteConfig } from "../../src/config/model.ts";
import { eventually } from "../support/eventually.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { startRawTarget } from "../support/raw-target.ts";
import { startRecordingTarget } from "../support/recording-target.ts";
import { lanes } from "./http1-lanes.ts";

const SMUGGLED = "GET /SMUG HTTP/1.1\r\nHost: a.test\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const site = (port: number, changes: Partial<SiteConfig> = {}): SiteConfig[] => [
  siteConfig("a.test", targetConfig(port), changes),
];

for (const lane of lanes) {
  for (const isClosing of [true, false]) {
    const then = isClosing ? "hangs up" : "keeps the connection";
    test(`T01 a body that comes after the target's own 408 is never a request, target ${then}: ${lane.name}`, async (t) => {
      const target = await startRawTarget(t, (heard, socket) => {
        if (!heard.includes("\r\n\r\n") || heard.includes("SMUG")) return;
        socket.write("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
        if (isClosing) socket.end();
      });
      const { connect } = await lane.open(t, site(target.port));
      const client = connect(t);
      // The first byte of the body comes at once, because a lane may hold the head back for it.
      client.send(`POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${SMUGGLED.length + 1}\r\n\r\nx`);
      await client.answers(1);
      client.send(SMUGGLED);
      await client.closed();
      assert.equal((await client.answers(1))[0]?.status, 408);
      await eventually("the target is let go", () => target.openConnections() === 0);
      for (const heard of target.heard) assert.ok(!heard.startsWith("GET /SMUG"));
      assert.equal(target.heard.length, 1);
    });
  }

  test(`T02 what follows an early refusal is not read as a request, and the target is not used again: ${lane.name}`, async (t) => {
    const target = await startRawTarget(t, (heard, socket) => {
      if (heard.startsWith("GET /")) socket.write(OK);
      else if (heard.endsWith("\r\n\r\nx")) socket.write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    });
    const { connect } = await lane.open(t, site(target.port));
    const client = connect(t);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 200001\r\n\r\nx");
    await client.answers(1);
    client.send(`${"x".repeat(199_963)}${SMUGGLED}${SMUGGLED}`);
    await client.closed();
    assert.equal(client.received().split("HTTP/1.1 ").length - 1, 1, "one answer");
    const next = connect(t);
    next.send("GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert.equal((await next.answers(1))[0]?.body, "ok");
    assert.equal(target.heard.length, 2, "the refused connection is not used again");
    assert.ok(target.heard[1]?.startsWith("GET /next "));
    assert.ok(
      !target.heard.some((heard) => /\r\n\r\nGET \/SMUG/.test(heard)),
      "nothing of the late body at a head's place",
    );
  });

  for (const method of ["GET", "POST"]) {
    for (const [what, head] of Object.entries({
      "our redirect": "/ HTTP/1.1\r\nHost: b.test",
      "our 404 for a host": "/ HTTP/1.1\r\nHost: c.test",
      "our 413": "/ HTTP/1.1\r\nHost: a.test",
    })) {
      test(`T03 T04 the body of a ${method} that ${what} answers is never a request: ${lane.name}`, async (t) => {
        const target = await startRecordingTarget(t);
        const { connect } = await lane.open(t, [
          ...site(target.port, { maxBody: 10 }),
          siteConfig("b.test", targetConfig(target.port), { redirect: { to: "https://a.test{path}", status: 308 } }),
        ]);
        for (const gap of [false, true]) {
          const client = connect(t);
          const text = `${method} ${head}\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n`;
          client.send(gap ? text : text + SMUGGLED);
          await client.answers(1);
          if (gap) client.send(SMUGGLED);
          await client.closed();
          assert.equal(client.received().split("HTTP/1.1 ").length - 1, 1, "one answer");
        }
        assert.equal(target.requests.length, 0);
      });
    }
  }

  test(`T06 a second answer nobody asked for is never the answer to the next request: ${lane.name}`, async (t) => {
    const target = await startRawTarget(t, (heard, socket) => {
      if (!heard.includes("/first") || heard.includes("/next")) {
        socket.write(OK);
        return;
      }
      socket.write(OK);
      // Late, when the connection lies idle.
      setImmediate(() => setImmediate(() => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")));
    });
    const { connect } = await lane.open(t, site(target.port));
    const client = connect(t);
    client.send("GET /first HTTP/1.1\r\nHost: a.test\r\n\r\n");
    await client.answers(1);
    await eventually("the connection with the stray answer is gone", () => target.openConnections() === 0);
    client.send("GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n");
    const answers = await client.answers(2);
    assert.deepEqual(
      answers.map(({ body }) => body),
      ["ok", "ok"],
    );
    assert.equal(target.heard.length, 2);
  });

  test(`T07 an upload that its client leaves is destroyed at the target, and not kept: ${lane.name}`, async (t) => {
    for (const framing of ["Content-Length: 100", "Transfer-Encoding: chunked"]) {
      const target = await startRawTarget(t, (heard, socket) => {
        if (heard.startsWith("GET ")) socket.write(OK);
      });
      const { connect, recorded } = await lane.open(t, site(target.port));
      const client = connect(t);
      client.send(`POST / HTTP/1.1\r\nHost: a.test\r\n${framing}\r\n\r\n5\r\nhello\r\n`);
      await eventually("half an upload", () => target.heard[0]?.includes("hello") ?? false);
      client.socket.destroy();
      await eventually("the target is let go", () => target.openConnections() === 0);
      await eventually("it is told", () => recorded.access.length === 1);
      assert.equal(recorded.access[0]?.error, "GATEHOUSE_CLIENT_GONE");
      const next = connect(t);
      next.send("GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n");
      assert.equal((await next.answers(1))[0]?.body, "ok");
      assert.equal(target.heard.length, 2);
    }
  });

  test(`T09 with clients that leave at any moment, every answer is the one that was asked for: ${lane.name}`, async (t) => {
    // Answers a little late and in two pieces, so that leaving falls on every moment.
    const target = await startRecordingTarget(t, ({ target }, socket) => {
      setImmediate(() => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target.slice(0, 3)}`);
        setImmediate(() => socket.write(target.slice(3)));
      });
    });
    const { connect } = await lane.open(t, site(target.port));
    const honest = connect(t);
    const ROUNDS = 1_000;
    for (let round = 0; round < ROUNDS; round++) {
      const rude = round % 4 === 0 ? connect(t) : undefined;
      rude?.send(`GET /rude/${round} HTTP/1.1\r\nHost: a.test\r\n\r\n`);
      honest.send(`GET /honest/${round} HTTP/1.1\r\nHost: a.test\r\n\r\n`);
      if (rude !== undefined) {
        for (let turns = (round / 4) % 8; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
        rude.socket.destroy();
      }
      await honest.until(`/honest/${round}`, (received) => received.endsWith(`/honest/${round}`));
    }
    const bodies = (await honest.answers(ROUNDS)).map(({ body }) => body);
    assert.deepEqual(
      bodies,
      Array.from({ length: ROUNDS }, (_, round) => `/honest/${round}`),
    );
    assert.deepEqual(target.malformed, []);
  });
}
