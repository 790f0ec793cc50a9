/**
 * When is a service told, when is it left in peace, and what survives a restart?
 * The zone is a list in memory that the writer writes to; the clock is the test's. ddns.test.ts has real ones.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GatehouseError } from "../../src/core/errors.ts";
import type { Addresses, AddressWriter, Written } from "../../src/dns/contract.ts";
import type { Shown } from "../../src/dns/shown.ts";
import { createNameKeeper, type NameKeeper } from "../../src/network/ddns-name.ts";
import type { NameState } from "../../src/network/ddns-state.ts";
import { memoryLog } from "../support/acme-home.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const HERE = { ipv4: "5.6.7.8" };

interface Home {
  now: number;
  /** What the zone's two name servers show; undefined: they do not answer. */
  zone: { ipv4: string[]; ipv6: string[] } | undefined;
  pushes: Addresses[];
  looks: number;
  /** Thrown in place of the next pushes. */
  trouble: GatehouseError | undefined;
  /** Taken, and never shown. */
  isSlow: boolean;
  written: Written;
  kind: AddressWriter["kind"];
  settings: string;
  state: NameState | undefined;
  /** Words of the log for a person now, and `right`. */
  told(): string[];
  alerts: string[];
  keeper: NameKeeper;
  /** As after a restart, with what was kept. */
  restart(): void;
  keep(wanted?: Addresses, isAsked?: boolean): Promise<void>;
}

/** As pino writes it. */
const ERROR = 50;

function createHome(): Home {
  const { log, lines } = memoryLog();
  const alerts: string[] = [];
  const make = (): NameKeeper =>
    createNameKeeper({
      name: "home.example.org",
      writer: {
        get kind() {
          return home.kind;
        },
        setAddresses(_name, addresses) {
          home.pushes.push(addresses);
          if (home.trouble !== undefined) return Promise.reject(home.trouble);
          if (!home.isSlow && home.zone !== undefined) {
            if (addresses.ipv4 !== undefined) home.zone.ipv4 = [addresses.ipv4];
            if (addresses.ipv6 !== undefined) home.zone.ipv6 = [addresses.ipv6];
          }
          return Promise.resolve(home.written);
        },
      },
      settings: home.settings,
      state: home.state,
      save(state) {
        // As on a disk: what is not JSON does not come back.
        home.state = JSON.parse(JSON.stringify(state)) as NameState;
        return Promise.resolve();
      },
      shown() {
        home.looks++;
        const { zone } = home;
        const shown = (server: string): Shown[] => (zone === undefined ? [] : [{ server, ...structuredClone(zone) }]);
        return Promise.resolve([...shown("192.0.2.1"), ...shown("192.0.2.2")]);
      },
      withinMs: 1,
      log,
      metrics: { ddnsUpdate: () => {}, ddnsName: () => {} },
      clock: { now: () => home.now },
      alerts: {
        raise: ({ key, severity, nextStep }) => alerts.push(`${key} ${severity} ${nextStep ?? ""}`.trim()),
        settle: (key) => alerts.push(`${key} settled`),
      },
    });
  const home: Home = {
    now: Date.UTC(2026, 10, 21),
    zone: { ipv4: [], ipv6: [] },
    pushes: [],
    looks: 0,
    trouble: undefined,
    isSlow: false,
    written: "shown",
    kind: "rfc2136",
    settings: "digest",
    state: undefined,
    alerts,
    told: () =>
      lines.flatMap(({ event, level, code }) =>
        event === "ddns.right" ? ["right"] : level === ERROR ? [String(code)] : [],
      ),
    keeper: undefined as unknown as NameKeeper,
    restart: () => (home.keeper = make()),
    keep: (wanted = HERE, isAsked = false) =>
      home.keeper.keep(wanted, { isAsked, signal: new AbortController().signal }),
  };
  home.restart();
  return home;
}

const outage = (notBefore?: number): GatehouseError =>
  new GatehouseError("GATEHOUSE_DNS_FAILED", {
    message: "no answer",
    ...(notBefore === undefined ? {} : { notBefore }),
  });
const no = new GatehouseError("GATEHOUSE_DNS_REFUSED", { message: "KO", hint: "check the token" });

test("what the zone shows already is not pushed, however it is spelled", async () => {
  const home = createHome();
  home.zone = { ipv4: ["5.6.7.8"], ipv6: ["2a00::8"] };
  await home.keep({ ipv4: "5.6.7.8", ipv6: "2a00:0:0:0::8" });
  assert.deepEqual(home.pushes, []);
  assert.equal(home.keeper.state().goodAt, home.now);
});

test("another address is pushed once, and then the zone is looked at once an hour", async () => {
  const home = createHome();
  await home.keep();
  for (let minute = 0; minute < 59; minute++) {
    home.now += MINUTE;
    await home.keep();
  }
  assert.deepEqual(home.pushes, [HERE]);
  const looks = home.looks;
  home.zone = { ipv4: ["9.9.9.9"], ipv6: [] }; // by hand, say
  home.now += MINUTE;
  await home.keep();
  assert.ok(home.looks > looks);
  assert.deepEqual(home.pushes, [HERE, HERE]);
});

test("a new address is pushed at once", async () => {
  const home = createHome();
  await home.keep();
  await home.keep({ ipv4: "5.6.7.9" });
  assert.deepEqual(home.zone?.ipv4, ["5.6.7.9"]);
});

test("a kind of address that is not wanted is neither looked at nor pushed", async () => {
  const home = createHome();
  home.zone = { ipv4: ["9.9.9.9"], ipv6: [] };
  await home.keep({ ipv6: "2a00::8" });
  assert.deepEqual(home.pushes, [{ ipv6: "2a00::8" }]);
  await home.keep({});
  assert.equal(home.pushes.length, 1);
});

test("taken and not shown is a failure, and the same addresses are not pushed again within the hour unless asked", async () => {
  const home = createHome();
  home.isSlow = true;
  await home.keep();
  assert.match(home.keeper.state().error?.message ?? "", /name server 192\.0\.2\.1 shows none/);
  for (let minute = 0; minute < 50; minute++) {
    home.now += MINUTE;
    await home.keep();
  }
  assert.equal(home.pushes.length, 1);
  await home.keep(HERE, true);
  assert.equal(home.pushes.length, 2);
  home.now += HOUR;
  await home.keep();
  assert.equal(home.pushes.length, 3);
  home.zone = { ipv4: ["5.6.7.8"], ipv6: [] };
  home.now += HOUR;
  await home.keep();
  assert.equal(home.keeper.state().failures, 0);
});

test("failures wait a minute, twice as long each time, a quarter of an hour at most, and tell a person from the third on", async () => {
  const home = createHome();
  home.trouble = outage();
  const waits: number[] = [];
  for (let round = 0; round < 6; round++) {
    await home.keep();
    const at = home.keeper.nextAt() ?? 0;
    waits.push((at - home.now) / MINUTE);
    home.now = at - 1;
    await home.keep();
    home.now = at;
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 15, 15]);
  assert.equal(home.pushes.length, 6, "nothing in between");
  assert.deepEqual(home.told(), Array<string>(4).fill("GATEHOUSE_DNS_FAILED"));
  home.trouble = undefined;
  await home.keep();
  assert.equal(home.told().at(-1), "right");
  const raised = Array<string>(4).fill("ddns:home.example.org warning");
  assert.deepEqual(home.alerts, [...raised, "ddns:home.example.org settled"]);
  assert.deepEqual([home.keeper.state().failures, home.keeper.state().error], [0, undefined]);
});

test("what a service says about when to come back is kept to, over a restart and a new address as well", async () => {
  const home = createHome();
  home.trouble = outage(home.now + 2 * HOUR);
  await home.keep();
  home.trouble = undefined;
  home.now += 2 * HOUR - 1;
  home.restart();
  await home.keep({ ipv4: "5.6.7.9" });
  assert.equal(home.pushes.length, 1);
  home.now += 1;
  await home.keep({ ipv4: "5.6.7.9" });
  assert.deepEqual(home.zone?.ipv4, ["5.6.7.9"]);
});

test("dyndns2: a no is the end until a person acts, over restarts; other settings or a request begin again", async () => {
  for (const act of ["settings", "request"] as const) {
    const home = createHome();
    home.kind = "dyndns2";
    home.trouble = no;
    await home.keep();
    assert.deepEqual(home.told(), ["GATEHOUSE_DNS_REFUSED"], "at once");
    assert.deepEqual(home.alerts, ["ddns:home.example.org critical check the token"]);
    assert.equal(home.keeper.nextAt(), undefined);
    home.trouble = undefined;
    home.now += 400 * 24 * HOUR;
    home.restart();
    await home.keep({ ipv4: "5.6.7.9" });
    assert.equal(home.pushes.length, 1);
    if (act === "settings") home.settings = "another";
    home.restart();
    await home.keep(HERE, act === "request");
    assert.equal(home.pushes.length, 2, act);
    assert.equal(home.keeper.state().isStopped, false);
  }
});

test("any other service's no is repeated after an hour, twice as long each time, a day at most", async () => {
  const home = createHome();
  home.trouble = no;
  const waits: number[] = [];
  for (let round = 0; round < 6; round++) {
    await home.keep();
    waits.push(((home.keeper.nextAt() ?? 0) - home.now) / HOUR);
    home.now = home.keeper.nextAt() ?? 0;
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 24]);
});

test("an address that flaps is pushed five times in ten minutes and no more, whoever asks", async () => {
  const home = createHome();
  for (let flap = 0; flap < 20; flap++) {
    home.now += 1_000;
    await home.keep({ ipv4: `5.6.7.${flap}` }, true);
  }
  assert.equal(home.pushes.length, 5);
  assert.match(home.keeper.state().error?.message ?? "", /5 times in 10 minutes/);
  home.now = home.keeper.nextAt() ?? 0;
  await home.keep();
  assert.equal(home.pushes.length, 6);
});

test("where no name server answers, what was pushed is believed and not pushed again after a restart", async () => {
  const home = createHome();
  home.zone = undefined;
  await home.keep();
  assert.deepEqual([home.pushes.length, home.keeper.state().failures], [1, 0]);
  home.restart();
  home.now += 2 * HOUR;
  await home.keep();
  assert.equal(home.pushes.length, 1);
});

test("behind a proxy that hides the address, what the zone shows is no failure", async () => {
  const home = createHome();
  home.written = "hidden";
  home.isSlow = true;
  home.zone = { ipv4: ["104.16.0.1"], ipv6: [] };
  await home.keep();
  assert.deepEqual([home.keeper.state().failures, home.keeper.state().goodAt], [0, home.now]);
});

test("who is stopped in the middle leaves no failure behind", async () => {
  const home = createHome();
  const stopped = AbortSignal.abort(new Error("stopping"));
  home.trouble = outage();
  await assert.rejects(home.keeper.keep(HERE, { isAsked: false, signal: stopped }), /stopping/);
  assert.equal(home.keeper.state().failures, 0);
});
