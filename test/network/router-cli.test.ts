/**
 * What `gatehouse router` prints, and the arithmetic behind it.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { createAdminServer } from "../../src/admin/server.ts";
import { isAnnouncement } from "../../src/network/announcements.ts";
import { doubted, failed, granted, hasForgotten, lost, newPort, requestFor } from "../../src/network/mapped-port.ts";
import { GatehouseError } from "../../src/core/errors.ts";
import { adminActions } from "../support/admin-actions.ts";
import { runCli, temporaryFolder } from "../support/gatehouse.ts";
import { keptLog } from "../support/log-lines.ts";

test("router status tells where ports lead, what is wrong and what to do, and no terminal obeys a router's words", async (t) => {
  const path = join(await temporaryFolder(t), "a.sock");
  const server = createAdminServer({ path, actions: adminActions(), log: keptLog().log });
  await server.listen();
  t.after(() => server.close());
  const text = await runCli(["router", "status", "--admin", path]);
  assert.equal(text.code, 0, text.stderr);
  assert.match(
    text.stdout,
    /^Router +192\.168\.0\.1\nThis machine +192\.168\.0\.200, 02:00:00:aa:bb:cc on eth0\nAsked by +UPnP \(IGD v1\)\n/,
  );
  assert.match(text.stdout, /^Outside +100\.64\.0\.9: .*CGNAT/m);
  assert.match(text.stdout, /^tcp 443 +192\.168\.0\.200:8443 +mapped +29m \d+s +made again 2 times$/m);
  assert.match(
    text.stdout,
    /^tcp 80 +192\.168\.0\.200:8080 +conflict +The router has tcp 80 for 192\.168\.0\.9:80 \(\ufffd\[2Jnas\)\. Remove that forward/m,
  );
  const json = await runCli(["router", "status", "--admin", path, "--json"]);
  const report = JSON.parse(json.stdout) as Record<string, unknown>;
  assert.equal(report["format"], 1);
  assert.equal(report["speaksIpv6"], null);
  assert.equal((report["ports"] as unknown[]).length, 2);
  const list = await runCli(["router", "checklist", "--admin", path]);
  assert.match(list.stdout, /^Gatehouse https +443 +192\.168\.0\.200 +8443 +TCP$/m);
  assert.match(list.stdout, /^02:00:00:aa:bb:cc +192\.168\.0\.200$/m);
  assert.doesNotMatch(list.stdout, /IPv6/);
});

const port = { name: "https", protocol: "tcp", internalPort: 8443, externalPort: 443, families: ["ipv4"] } as const;
const grant = (leaseSeconds: number) => ({
  externalPort: 443,
  leaseSeconds,
  externalAddress: undefined,
  epochSeconds: 1,
});
const error = (code: "GATEHOUSE_ROUTER_REFUSED" | "GATEHOUSE_ROUTER_CONFLICT", notBefore?: number) =>
  new GatehouseError(code, { message: "no", ...(notBefore === undefined ? {} : { notBefore }) });

test("a lease is renewed between a half and five eighths of it, one without end never", () => {
  const one = newPort(port, "ipv4");
  assert.equal(granted(one, grant(1_000), 0, 0).dueAt, 500_000);
  assert.equal(granted(one, grant(1_000), 0, 1).dueAt, 625_000);
  assert.equal(granted(one, grant(2), 0, 0).dueAt, 4_000, "but not sooner than the standard allows");
  const forever = granted(one, grant(0), 0, 0);
  assert.deepEqual([forever.until, forever.dueAt], [undefined, Number.POSITIVE_INFINITY]);
});

test("a renewal that fails leaves the port mapped until the lease ends, and is tried at half of what is left", () => {
  const held = granted(newPort(port, "ipv4"), grant(1_000), 0, 0);
  const once = failed(held, error("GATEHOUSE_ROUTER_REFUSED"), 500_000);
  assert.deepEqual([once.state, once.dueAt, once.until], ["mapped", 750_000, 1_000_000]);
  const late = failed(once, error("GATEHOUSE_ROUTER_REFUSED"), 1_000_001);
  assert.deepEqual([late.state, late.until], ["refused", undefined]);
});

test("a router that may have started anew is asked for what it had given, and not for what it had refused", () => {
  const held = granted(newPort(port, "ipv4"), grant(1_000), 0, 0);
  assert.deepEqual([doubted(held).state, doubted(held).dueAt], ["mapped", 0]);
  const refused = failed(newPort(port, "ipv4"), error("GATEHOUSE_ROUTER_REFUSED"), 0);
  assert.deepEqual(doubted(refused), refused);
});

test("a port that was never had is asked for later each time, at most every quarter of an hour, and not before the router allows", () => {
  let one = newPort(port, "ipv4");
  const waits: number[] = [];
  for (let times = 0; times < 7; times++) {
    one = failed(one, error("GATEHOUSE_ROUTER_CONFLICT"), 0);
    waits.push(one.dueAt / 1_000);
  }
  assert.deepEqual(waits, [30, 60, 120, 240, 480, 900, 900]);
  assert.equal(one.state, "conflict");
  assert.equal(failed(newPort(port, "ipv4"), error("GATEHOUSE_ROUTER_REFUSED", 99_000), 0).dueAt, 99_000);
  assert.deepEqual([lost(one).dueAt, lost(one).failures, lost(one).repairs], [0, 0, 1]);
});

test("IPv6 is asked for the port inside, and what a router's list shows is plain ASCII", () => {
  assert.equal(requestFor(newPort(port, "ipv6"), 60).externalPort, 8443);
  assert.equal(requestFor(newPort({ ...port, name: "tür\u0007" }, "ipv4"), 60).description, "Gatehouse t?r?");
});

const clocks: [what: string, last: [number, number], next: [number, number], forgotten: boolean][] = [
  ["the same", [100, 0], [100, 0], false],
  ["an hour on both", [100, 0], [3_700, 3_600_000], false],
  ["a second back, as rounding does", [100, 0], [99, 0], false],
  ["two seconds back", [100, 0], [98, 0], true],
  ["started anew and faster up than we looked", [100, 0], [50, 600_000], true],
  ["started anew long ago and overtaken", [100, 0], [200, 3_600_000], true],
  ["a router's clock that goes five in a hundred slow", [0, 0], [3_420, 3_600_000], false],
  ["a router's clock that goes five in a hundred fast", [0, 0], [3_780, 3_600_000], false],
  ["a router's clock that jumped ahead", [0, 0], [7_200, 3_600_000], true],
];
for (const [what, [a, at], [b, then], forgotten] of clocks) {
  test(`the router's clock, ${what}: ${forgotten ? "it has forgotten" : "it remembers"}`, () => {
    assert.equal(hasForgotten({ seconds: a, at }, { seconds: b, at: then }), forgotten);
    assert.equal(hasForgotten(undefined, { seconds: b, at: then }), false);
  });
}

test("an announcement is known by its form", () => {
  const pcp = Buffer.alloc(24);
  pcp[0] = 2;
  pcp[1] = 0x80;
  assert.ok(isAnnouncement(pcp));
  assert.ok(isAnnouncement(Buffer.from("008000000000000105060708", "hex")));
  const failedOne = Buffer.from(pcp);
  failedOne[3] = 1;
  for (const no of [
    failedOne,
    pcp.subarray(0, 23),
    Buffer.alloc(0),
    Buffer.from("hello"),
    Buffer.from("0000", "hex"),
  ]) {
    assert.equal(isAnnouncement(no), false);
  }
});
