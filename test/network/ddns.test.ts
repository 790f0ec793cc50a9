/**
 * Dynamic DNS with a real name server (bind9): it is the zone, the service that is told, and the witnesses.
 */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import type { DdnsConfig } from "../../src/config/model.ts";
import { systemClock } from "../../src/core/time.ts";
import { createDnsProvider } from "../../src/dns/providers.ts";
import { type Ddns, startDdns } from "../../src/network/ddns.ts";
import { type DdnsStates, openDdnsStates } from "../../src/network/ddns-state.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { memoryLog, noSignal } from "../support/acme-home.ts";
import { type Bind, needsBind, startBind } from "../support/bind.ts";
import { eventually } from "../support/eventually.ts";
import { startFakeDyndns2 } from "../support/fake-dns-apis.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

const ZONE = "example.org";
const [FIRST, SECOND] = [`home.${ZONE}`, `nas.${ZONE}`];

interface Net {
  bind: Bind;
  folder: string;
  lines: Record<string, unknown>[];
  updates: string[];
  /** What the witnesses say from now on. */
  setWitnesses(...addresses: string[]): Promise<void>;
  /** Ended with the test; `stop` before another one is started on the same folder. */
  start(more?: Partial<DdnsConfig>, routerAddress?: () => string | undefined): Promise<Ddns>;
}

async function startNet(t: TestContext): Promise<Net> {
  const bind = await startBind(t, { zone: ZONE });
  const server = { host: "127.0.0.1", port: bind.port };
  const by = { kind: "rfc2136" as const, server, zone: ZONE, key: bind.key };
  const provider = createDnsProvider(by);
  const folder = await temporaryFolder(t);
  const { log, lines } = memoryLog();
  const updates: string[] = [];
  const said = new Map<number, string>();
  return {
    bind,
    folder,
    lines,
    updates,
    async setWitnesses(...addresses) {
      for (const at of [0, 1, 2]) {
        const before = said.get(at);
        if (before !== undefined) await provider.clear(`who-${at}.${ZONE}`, before, noSignal());
        said.delete(at);
        const address = addresses[at];
        if (address === undefined) continue;
        await provider.present(`who-${at}.${ZONE}`, address, noSignal());
        said.set(at, address);
      }
    },
    async start(more = {}, routerAddress = () => undefined) {
      const states: DdnsStates = await openDdnsStates(await createFileStorage(folder), [FIRST, SECOND]);
      const ddns = startDdns({
        settings: {
          names: [FIRST, SECOND].map((name) => ({ name, by })),
          by: "auto",
          ipv4: true,
          ipv6: false,
          interface: undefined,
          checkMs: 100,
          witnesses: [0, 1, 2].map((at) => ({
            kind: "dns",
            server: `127.0.0.1:${bind.port}`,
            name: `who-${at}.${ZONE}`,
          })),
          ...more,
        },
        dns: { providers: [], resolvers: [server], nameServers: [server], propagationMs: 2_000, dyndns2: undefined },
        states,
        routerAddress,
        log,
        metrics: { ddnsUpdate: (service, outcome) => updates.push(`${service} ${outcome}`), ddnsName: () => {} },
        clock: systemClock,
        alerts: { raise: () => {}, settle: () => {} },
      });
      t.after(() => ddns.stop());
      return ddns;
    },
  };
}

const states = (ddns: Ddns): string[] => ddns.report().names.map(({ state }) => state);
const leadsTo = (ddns: Ddns, address: string): boolean =>
  areRight(ddns) && ddns.report().names.every(({ good }) => good?.ipv4 === address);
const areRight = (ddns: Ddns): boolean => states(ddns).every((state) => state === "right");

test(
  "two witnesses agree: every name is brought home, and follows when they tell another address",
  { skip: needsBind },
  async (t) => {
    const net = await startNet(t);
    await net.setWitnesses("5.6.7.8", "5.6.7.8", "9.9.9.9");
    const ddns = await net.start();
    await eventually("every name is right", () => areRight(ddns));
    for (const name of [FIRST, SECOND]) assert.deepEqual(await net.bind.dig(name, "A"), ["5.6.7.8"]);
    const { address, names } = ddns.report();
    assert.deepEqual([address?.from, address?.nat], ["witnesses", "unknown"]);
    assert.deepEqual(names[0]?.shown, [{ server: "127.0.0.1", ipv4: ["5.6.7.8"], ipv6: [] }]);
    await net.setWitnesses("5.6.7.9", "5.6.7.9");
    await eventually("the names follow", () => leadsTo(ddns, "5.6.7.9"));
    assert.deepEqual(await net.bind.dig(SECOND, "A"), ["5.6.7.9"]);
    assert.deepEqual(net.updates, Array<string>(4).fill("rfc2136 taken"), "once a name and address");
  },
);

test(
  "the router's word is noticed without asking anybody, and a NAT in front of it is said once",
  { skip: needsBind },
  async (t) => {
    const net = await startNet(t);
    let router = "5.6.7.8";
    const ddns = await net.start({ witnesses: [], checkMs: 86_400_000 }, () => router);
    await eventually("every name is right", () => areRight(ddns));
    router = "5.6.7.10";
    await eventually("the names follow the router", () => leadsTo(ddns, "5.6.7.10"));
    await ddns.stop();
    await net.setWitnesses("5.6.7.11", "5.6.7.11");
    const behind = await net.start({}, () => "100.64.0.7");
    await eventually("the names lead to what witnesses see", () => leadsTo(behind, "5.6.7.11"));
    await behind.update();
    assert.equal(behind.report().address?.nat, "shared");
    assert.equal(net.lines.filter(({ event }) => event === "ddns.nat").length, 1);
  },
);

test("when nobody tells the address, names stay as they are, and it is said once", { skip: needsBind }, async (t) => {
  const net = await startNet(t);
  await net.setWitnesses("5.6.7.8", "5.6.7.8");
  const ddns = await net.start();
  await eventually("every name is right", () => areRight(ddns));
  await net.setWitnesses("5.6.7.9");
  for (let round = 0; round < 3; round++) await ddns.update();
  assert.deepEqual(await net.bind.dig(FIRST, "A"), ["5.6.7.8"]);
  assert.deepEqual(states(ddns), ["unknown", "unknown"]);
  assert.equal(net.lines.filter(({ event }) => event === "ddns.address_unknown").length, 1);
  assert.equal(ddns.report().names[0]?.good?.ipv4, "5.6.7.8", "the last-known-good");
});

test("a restart tells nobody anything when the zone is right", { skip: needsBind }, async (t) => {
  const net = await startNet(t);
  await net.setWitnesses("5.6.7.8", "5.6.7.8");
  const first = await net.start();
  await eventually("every name is right", () => areRight(first));
  await first.stop();
  const told = net.updates.length;
  const second = await net.start();
  await eventually(
    "every name is right",
    () => areRight(second) && second.report().names.every(({ shown }) => shown.length > 0),
  );
  assert.equal(net.updates.length, told);
});

test("a damaged memory is as none: the zone is looked at first", { skip: needsBind }, async (t) => {
  const net = await startNet(t);
  await net.setWitnesses("5.6.7.8", "5.6.7.8");
  const first = await net.start();
  await eventually("every name is right", () => areRight(first));
  await first.stop();
  const told = net.updates.length;
  const storage = await createFileStorage(net.folder);
  for (const text of ["", "{", "[]", '{"format":1,"names":{"home.example.org":{"failures":"x"}}}']) {
    await storage.write("ddns/state", text);
    const again = await net.start();
    await eventually("every name is right", () => areRight(again));
    await again.stop();
  }
  assert.equal(net.updates.length, told);
});

test(
  "a service that says no is asked once; a request of a person asks again; no password is kept or logged",
  { skip: needsBind },
  async (t) => {
    const net = await startNet(t);
    await net.setWitnesses("5.6.7.8", "5.6.7.8");
    const api = await startFakeDyndns2(t);
    const by = { kind: "dyndns2" as const, url: `${api.url}/nic/update`, user: "me", password: "wrong-password" };
    const ddns = await net.start({ names: [{ name: FIRST, by }] });
    await eventually("it is stopped", () => states(ddns)[0] === "stopped");
    await eventually("it is checked again", () => (ddns.report().checkedAt ?? 0) > 0);
    const rounds = ddns.report().checkedAt ?? 0;
    await eventually("it is checked again", () => (ddns.report().checkedAt ?? 0) > rounds + 300);
    assert.equal(api.calls.length, 1);
    assert.match(ddns.report().names[0]?.error?.message ?? "", /badauth/);
    await ddns.stop();
    const again = await net.start({ names: [{ name: FIRST, by }] });
    await eventually("it is checked", () => again.report().checkedAt !== undefined);
    assert.equal(api.calls.length, 1, "not after a restart either");
    await again.update();
    assert.equal(api.calls.length, 2);
    const kept = await (await createFileStorage(net.folder)).read("ddns/state");
    assert.doesNotMatch(`${kept?.toString()} ${JSON.stringify(net.lines)}`, /wrong-password/);
  },
);

test("an end in the middle of a look comes at once", { skip: needsBind }, async (t) => {
  const net = await startNet(t);
  const ddns = await net.start({ witnesses: [{ kind: "dns", server: "127.0.0.1:1", name: "nobody.test" }] });
  const asked = ddns.update();
  const begun = performance.now();
  await ddns.stop();
  await asked;
  assert.ok(performance.now() - begun < 2_000);
});

test(
  "a request that hangs, as one does over an address that is gone, is given up when the address changes",
  { skip: needsBind },
  async (t) => {
    const net = await startNet(t);
    const asked: string[] = [];
    const silent = createServer((request) =>
      asked.push(new URL(request.url ?? "", "http://x").searchParams.get("myip") ?? ""),
    );
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      silent.closeAllConnections();
      silent.close();
    });
    const { port } = silent.address() as AddressInfo;
    const by = { kind: "dyndns2" as const, url: `http://127.0.0.1:${port}/nic/update`, user: "me", password: "x" };
    let router = "5.6.7.8";
    const ddns = await net.start({ names: [{ name: FIRST, by }], witnesses: [], checkMs: 1_000 }, () => router);
    await eventually("the service is asked", () => asked.length === 1);
    router = "5.6.7.9";
    await eventually("the service is asked with the new address", () => asked.at(-1) === "5.6.7.9");
    assert.equal(ddns.report().names[0]?.failures, 0);
    const begun = performance.now();
    await ddns.stop();
    assert.ok(performance.now() - begun < 5_000, "nor does it hold up the end");
  },
);
