/**
 * Bodies in crumbs: chunks so small that the framing is most of them. They take no memory, and do not go on for ever.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { assertServed, knock, NAME, pour, startSiege } from "../support/siege.ts";
import { startTarget } from "../support/target.ts";

/** What the heap may grow to by work alone, and what the buffers of all attackers may hold. */
const MEMORY = 150_000_000;

/** What has to be closed, the visitor's own apart. */
async function emptied(openConnections: () => Promise<number>, within = 60_000): Promise<void> {
  const until = performance.now() + within;
  while ((await openConnections()) > 1) {
    assert.ok(performance.now() < until, "connections stay");
    await wait(100);
  }
}

test("S19 small chunks for a target that does not read take no more than buffers", { timeout: 120_000 }, async (t) => {
  const { port } = await startTarget(t, (req, res) => {
    if (req.url === "/ok") res.end("ok");
  });
  const siege = await startSiege(t, `sites: { ${NAME}: { to: "127.0.0.1:${port}", timeouts: { idle: 2s } } }\n`);
  const { gatehouse, visits } = siege;
  for (const expectation of ["", "Expect: 100-continue\r\n"]) {
    const [since, before] = [visits.length, await gatehouse.rss()];
    let most = before;
    const attackers = await Promise.all(
      Array.from({ length: 4 }, () => knock(t, { port: gatehouse.httpsPort, isTls: true })),
    );
    const pouring = attackers.map((attacker) => {
      attacker.send(`POST /up HTTP/1.1\r\nHost: ${NAME}\r\nTransfer-Encoding: chunked\r\n${expectation}\r\n`);
      return pour(attacker, "2\r\nxx\r\n".repeat(500));
    });
    const until = performance.now() + 3_000;
    while (performance.now() < until) {
      most = Math.max(most, await gatehouse.rss());
      await wait(100);
    }
    for (const { raw } of attackers) raw.destroy();
    await Promise.all(pouring);
    assert.ok(most - before < MEMORY, `${most - before} bytes more than before`);
    // Thirty megabytes of this in a second are more than one core reads: everybody waits, nobody is turned away.
    assert.deepEqual(
      visits.slice(since).flatMap(({ problem }) => problem ?? []),
      [],
    );
    await emptied(siege.openConnections);
  }
});

// Each crumb costs node:http several times what it costs our lane, and it has fewer of these clients.
for (const [lane, expectation, crew] of [
  ["our lane", "", 5],
  ["node:http", "Expect: 100-continue\r\n", 2],
] as const) {
  const what = `S19 chunks of one byte without end are cut, whatever the body may have in all (${lane} reads)`;
  test(what, { timeout: 120_000 }, async (t) => {
    const { port } = await startTarget(t, (req, res) => {
      if (req.url === "/ok") res.end("ok");
      else req.resume();
    });
    const siege = await startSiege(t, `sites: { ${NAME}: "127.0.0.1:${port}" }\n`);
    const { gatehouse, visits } = siege;
    const [since, before] = [visits.length, await gatehouse.rss()];
    await Promise.all(
      Array.from({ length: crew }, async () => {
        const attacker = await knock(t, { port: gatehouse.httpsPort, isTls: true });
        const late = setTimeout(() => attacker.raw.destroy(new Error("never cut")), 60_000);
        attacker.send(`POST /up HTTP/1.1\r\nHost: ${NAME}\r\nTransfer-Encoding: chunked\r\n${expectation}\r\n`);
        await pour(attacker, "1\r\nx\r\n".repeat(500));
        clearTimeout(late);
        // A reset may overtake the answer of somebody who does not stop.
        assert.match(attacker.received(), /^(?:HTTP\/1\.1 100 Continue\r\n\r\n)?(?:HTTP\/1\.1 413 |$)/);
      }),
    );
    while (visits.length < since + 5) await wait(50);
    assertServed(siege, since);
    assert.ok((await gatehouse.rss()) - before < MEMORY);
    assert.equal(await siege.limit("body_crumbs"), crew);
    await emptied(siege.openConnections);
    const said = gatehouse.lines.filter(({ event, level }) => event !== "access" && level >= 30);
    assert.ok(said.length < 20, said.map((line) => JSON.stringify(line)).join("\n"));
  });
}
