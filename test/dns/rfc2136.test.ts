/**
 * Does a real name server (bind9) take our updates, and do we see what it and others show?
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isGatehouseError } from "../../src/core/errors.ts";
import type { DnsServer } from "../../src/dns/ask.ts";
import { createPropagation } from "../../src/dns/propagation.ts";
import { createRfc2136 } from "../../src/dns/rfc2136.ts";
import { createZones } from "../../src/dns/zones.ts";
import { memoryLog, noSignal } from "../support/acme-home.ts";
import { type Bind, needsBind as skip, startBind } from "../support/bind.ts";

const ZONE = "home.test";
const NAME = `_acme-challenge.www.${ZONE}`;

const serverOf = ({ port }: Bind): DnsServer => ({ host: "127.0.0.1", port });
const settingsOf = (bind: Bind) => ({
  kind: "rfc2136" as const,
  server: serverOf(bind),
  zone: undefined,
  key: bind.key,
});

for (const algorithm of ["hmac-sha256", "hmac-sha384", "hmac-sha512"] as const) {
  test(`records come and go by ${algorithm}, each by itself, and repeating is no error`, { skip }, async (t) => {
    const bind = await startBind(t, { zone: ZONE, algorithm });
    const provider = createRfc2136(settingsOf(bind));
    const long = "x".repeat(300);
    for (const value of ["one", "two", "two", long]) await provider.present(NAME, value, noSignal());
    const halves = `"${"x".repeat(255)}" "${"x".repeat(45)}"`;
    assert.deepEqual(await bind.dig(NAME, "TXT"), ['"one"', '"two"', halves]);
    await provider.clear(NAME, "one", noSignal());
    await provider.clear(NAME, "one", noSignal());
    assert.deepEqual(await bind.dig(NAME, "TXT"), ['"two"', halves]);
  });
}

test("addresses replace what was there, one kind without the other", { skip }, async (t) => {
  const bind = await startBind(t, { zone: ZONE });
  const provider = createRfc2136(settingsOf(bind));
  await provider.setAddresses(`www.${ZONE}`, { ipv4: "192.0.2.1", ipv6: "2001:db8::1" }, noSignal());
  await provider.setAddresses(`www.${ZONE}`, { ipv4: "192.0.2.2" }, noSignal());
  assert.deepEqual(await bind.dig(`www.${ZONE}`, "A"), ["192.0.2.2"]);
  assert.deepEqual(await bind.dig(`www.${ZONE}`, "AAAA"), ["2001:db8::1"]);
  await provider.setAddresses(`www.${ZONE}`, { ipv6: "::ffff:192.0.2.9" }, noSignal());
  assert.deepEqual(await bind.dig(`www.${ZONE}`, "AAAA"), ["::ffff:192.0.2.9"]);
});

type Change = (bind: Bind) => { key?: Bind["key"] | undefined; zone?: string };
const wrongs: [what: string, change: Change, name: string, says: RegExp][] = [
  ["another secret", ({ key }) => ({ key: { ...key, secret: "bm90IHRoZSBzZWNyZXQ=" } }), NAME, /BADSIG/],
  ["a key that it does not know", ({ key }) => ({ key: { ...key, name: "stranger" } }), NAME, /BADKEY/],
  ["no key", () => ({ key: undefined }), NAME, /REFUSED: this key may not/],
  ["a zone that takes no updates", () => ({}), "a.frozen.test", /REFUSED|NOTIMP|NOTAUTH/],
  ["a zone that it does not have", () => ({}), "a.elsewhere.test", /has no zone for/],
  ["a zone that the name does not lie in", () => ({ zone: "other.test" }), NAME, /does not lie in other\.test/],
];
for (const [what, change, name, says] of wrongs) {
  test(`${what} is refused with words, and nothing is written`, { skip }, async (t) => {
    const bind = await startBind(t, { zone: ZONE, frozen: "frozen.test" });
    const provider = createRfc2136({ ...settingsOf(bind), ...change(bind) });
    await assert.rejects(provider.present(name, "value", noSignal()), (error) => {
      assert.ok(isGatehouseError(error, "GATEHOUSE_DNS_REFUSED"), String(error));
      assert.match(error.message, says);
      assert.ok(!error.message.includes(bind.key.secret));
      return true;
    });
    assert.deepEqual(await bind.dig(name, "TXT"), []);
  });
}

test("a clock that is wrong by ten minutes is named as the reason", { skip }, async (t) => {
  const bind = await startBind(t, { zone: ZONE });
  const provider = createRfc2136(settingsOf(bind), { now: () => Date.now() - 600_000 });
  await assert.rejects(provider.present(NAME, "value", noSignal()), /BADTIME/);
});

test("a name server that is not there is a failure that may pass", async () => {
  const provider = createRfc2136({
    kind: "rfc2136",
    server: { host: "127.0.0.1", port: 1 },
    zone: undefined,
    key: undefined,
  });
  await assert.rejects(provider.present(NAME, "value", noSignal()), (error) =>
    isGatehouseError(error, "GATEHOUSE_DNS_FAILED"),
  );
});

test("an alias of the challenge's name is followed, and one in circles is refused", { skip }, async (t) => {
  const bind = await startBind(t, {
    zone: ZONE,
    records: [
      "_acme-challenge.a IN CNAME one",
      "one IN CNAME two.home.test.",
      "round IN CNAME trip",
      "trip IN CNAME round",
    ],
  });
  const zones = createZones({ resolvers: [serverOf(bind)] });
  assert.equal(await zones.follow(`_acme-challenge.a.${ZONE}`, noSignal()), `two.${ZONE}`);
  assert.equal(await zones.follow(`_acme-challenge.b.${ZONE}`, noSignal()), `_acme-challenge.b.${ZONE}`);
  await assert.rejects(zones.follow(`round.${ZONE}`, noSignal()), /in circles/);
  assert.equal(await zones.zoneOf(`a.b.c.${ZONE}`, noSignal()), ZONE);
  const [server] = await zones.nameServersOf(`a.b.c.${ZONE}`, noSignal());
  assert.deepEqual(server, { host: "127.0.0.1", port: 53 });
});

test("the zone is watched until each of its name servers shows the record", { skip }, async (t) => {
  const [fast, slow] = [await startBind(t, { zone: ZONE }), await startBind(t, { zone: ZONE })];
  const zones = createZones({ nameServers: [serverOf(fast), serverOf(slow)] });
  const { log } = memoryLog();
  const propagation = createPropagation({ zones, log, withinMs: 20_000 });
  await createRfc2136(settingsOf(fast)).present(NAME, "value", noSignal());
  let isVisible = false;
  const waiting = propagation.awaitRecord(NAME, "value", noSignal()).then(() => (isVisible = true));
  const impatient = createPropagation({ zones, log, withinMs: 300 });
  await assert.rejects(impatient.awaitRecord(NAME, "value", noSignal()), (error) => {
    assert.ok(isGatehouseError(error, "GATEHOUSE_DNS_FAILED"));
    return /does not show its record/.test(error.message);
  });
  assert.equal(isVisible, false);
  await createRfc2136(settingsOf(slow)).present(NAME, "value", noSignal());
  await waiting;
});

test(
  "name servers that cannot be reached from here hold nothing up, and are named",
  { skip, timeout: 60_000 },
  async (t) => {
    const bind = await startBind(t, { zone: ZONE });
    await createRfc2136(settingsOf(bind)).present(NAME, "value", noSignal());
    const zones = createZones({ nameServers: [serverOf(bind), { host: "127.0.0.1", port: 1 }] });
    const { log, lines } = memoryLog();
    await createPropagation({ zones, log, withinMs: 20_000 }).awaitRecord(NAME, "value", noSignal());
    assert.ok(lines.some(({ event }) => event === "dns.unchecked"));
  },
);

test("who stops waiting is let go at once", { skip }, async (t) => {
  const bind = await startBind(t, { zone: ZONE });
  const zones = createZones({ nameServers: [serverOf(bind)] });
  const controller = new AbortController();
  const waiting = createPropagation({ zones, log: memoryLog().log, withinMs: 60_000 }).awaitRecord(
    NAME,
    "v",
    controller.signal,
  );
  setImmediate(() => controller.abort(new Error("stopping")));
  await assert.rejects(waiting, /stopping|aborted/);
});
