/**
 * Is a name proved in its zone, by a real CA (pebble) that believes a real name server (bind9), and is the zone clean after?
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createDnsSolver } from "../../src/acme/challenges/dns.ts";
import { createHttpSolver, type Solver } from "../../src/acme/challenges/solver.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { type Clock, systemClock } from "../../src/core/time.ts";
import type { DnsProvider } from "../../src/dns/contract.ts";
import { createPropagation } from "../../src/dns/propagation.ts";
import { refused } from "../../src/dns/refusals.ts";
import { createRfc2136 } from "../../src/dns/rfc2136.ts";
import { createZones } from "../../src/dns/zones.ts";
import { type Home, makeHome, memoryLog, noSignal } from "../support/acme-home.ts";
import { type Bind, needsBind, startBind } from "../support/bind.ts";
import { type Pebble, needsPebble, startPebble } from "../support/pebble.ts";

const ZONE = "home.test";
const skip = needsPebble || needsBind;
const timeout = 300_000;

interface Place {
  home: Home;
  bind: Bind;
  provider: DnsProvider;
  solver(provider?: DnsProvider, clock?: Clock): Solver;
  /** TXT records of all challenges of these names. */
  left(...names: string[]): Promise<string[]>;
}

async function makePlace(t: TestContext, records: readonly string[] = []): Promise<Place> {
  const home = await makeHome();
  t.after(() => home.stop());
  const bind = await startBind(t, { zone: ZONE, records });
  const server = { host: "127.0.0.1", port: bind.port };
  const provider = createRfc2136({ kind: "rfc2136", server, zone: undefined, key: bind.key });
  const zones = createZones({ resolvers: [server], nameServers: [server] });
  const { log } = memoryLog();
  const propagation = createPropagation({ zones, log, withinMs: 20_000 });
  return {
    home,
    bind,
    provider,
    solver: (other = provider, clock = systemClock) =>
      createDnsSolver({ provider: other, zones, propagation, storage: home.storage, clock, log }),
    async left(...names) {
      const found = await Promise.all(names.map((name) => bind.dig(`_acme-challenge.${name}`, "TXT")));
      return [...found.flat(), ...(await home.storage.list("acme/dns-records"))];
    },
  };
}

const pebbleFor = (t: TestContext, { home, bind }: Place): Promise<Pebble> =>
  startPebble(t, { httpPort: home.httpPort, dnsServer: `127.0.0.1:${bind.port}` });

test("a wildcard and its parent get one certificate, and the zone is as before", { skip, timeout }, async (t) => {
  const place = await makePlace(t);
  const pebble = await pebbleFor(t, place);
  const names = [`*.${ZONE}`, ZONE];
  const issuer = place.home.issuer(pebble, { solvers: [place.solver()], namesOf: () => names });
  const bundle = await issuer.issue(`*.${ZONE}`, "first", noSignal());
  assert.deepEqual([...bundle.names].sort(), names);
  assert.equal((await place.home.bundles.load(`*.${ZONE}`))?.serial, bundle.serial);
  assert.deepEqual(await place.left(ZONE), []);
  const chosen = place.home.lines.filter(({ event }) => event === "acme.challenge.chosen");
  assert.ok(chosen.some((line) => line["wildcard"] === true && /wildcard/.test(String(line["why"]))));
});

test("where _acme-challenge is an alias, the record is written where it leads", { skip, timeout }, async (t) => {
  const place = await makePlace(t, ["_acme-challenge.a IN CNAME elsewhere", "elsewhere IN CNAME far.away"]);
  const pebble = await pebbleFor(t, place);
  const written: string[] = [];
  const watching: DnsProvider = {
    ...place.provider,
    async present(name, value, signal) {
      written.push(name);
      await place.provider.present(name, value, signal);
    },
  };
  const issuer = place.home.issuer(pebble, { solvers: [place.solver(watching)] });
  const bundle = await issuer.issue(`a.${ZONE}`, "first", noSignal());
  assert.deepEqual(bundle.names, [`a.${ZONE}`]);
  assert.deepEqual(written, [`far.away.${ZONE}`]);
  assert.deepEqual(await place.bind.dig(`far.away.${ZONE}`, "TXT"), []);
});

test(
  "where port 80 answers wrongly, the zone is used at once, and first the next time",
  { skip, timeout },
  async (t) => {
    const place = await makePlace(t);
    const pebble = await pebbleFor(t, place);
    place.home.answerWith(() => Promise.resolve("<html>my router</html>"));
    const solvers = [createHttpSolver(place.home.challenges), place.solver()];
    for (const reason of ["first", "asked"] as const) {
      await place.home.issuer(pebble, { solvers }).issue(`a.${ZONE}`, reason, noSignal());
    }
    assert.equal(pebble.orders(), 3);
  },
);

test("a provider that refuses gives way: the next try is proved on port 80", { skip, timeout }, async (t) => {
  const place = await makePlace(t);
  const pebble = await pebbleFor(t, place);
  const broken: DnsProvider = { ...place.provider, present: () => Promise.reject(refused("no such zone", "look")) };
  await place.home.storage.write("acme/proved/a.home.test.json", JSON.stringify({ worked: "dns-01", failed: {} }));
  const solvers = [createHttpSolver(place.home.challenges), place.solver(broken)];
  const issuer = place.home.issuer(pebble, { solvers });
  await assert.rejects(issuer.issue(`a.${ZONE}`, "first", noSignal()), (error) =>
    isGatehouseError(error, "GATEHOUSE_DNS_REFUSED"),
  );
  const bundle = await issuer.issue(`a.${ZONE}`, "first", noSignal());
  assert.deepEqual(bundle.names, [`a.${ZONE}`]);
  assert.deepEqual(await place.left(`a.${ZONE}`), []);
});

test(
  "a record that shows something else is told as that, with the zone as the place to look",
  { skip, timeout },
  async (t) => {
    const place = await makePlace(t);
    const pebble = await pebbleFor(t, place);
    const lying: Solver = {
      ...place.solver(),
      present: () => place.provider.present(`_acme-challenge.a.${ZONE}`, "x", noSignal()),
    };
    const issuer = place.home.issuer(pebble, { solvers: [lying] });
    await assert.rejects(issuer.issue(`a.${ZONE}`, "first", noSignal()), (error) => {
      assert.ok(isGatehouseError(error, "GATEHOUSE_ACME_CHALLENGE_FAILED"));
      assert.match(error.message, /by dns-01: .*TXT record/);
      assert.match(error.hint ?? "", /acme\.dns/);
      assert.doesNotMatch(error.message, /No question for it arrived/);
      return true;
    });
  },
);

const question = (token: string) => ({ name: ZONE, isWildcard: false, token, keyAuthorization: `${token}.thumb` });

test(
  "what a crash left in the zone is removed by the next process, once no order can need it",
  { skip: needsBind },
  async (t) => {
    const place = await makePlace(t);
    await place.solver().present(question("one"), noSignal());
    assert.equal((await place.left(ZONE)).length, 2, "the record and its entry in the list");
    // The process dies here. The next one starts at once: the order may be taken up again.
    await place.solver().sweep();
    assert.equal((await place.left(ZONE)).length, 2);
    await place.solver(place.provider, { now: () => Date.now() + 16 * 60_000 }).sweep();
    assert.deepEqual(await place.left(ZONE), []);
  },
);

test(
  "a record that could not be removed stays in the list, and is removed when the provider is back",
  { skip: needsBind },
  async (t) => {
    const place = await makePlace(t);
    const broken: DnsProvider = { ...place.provider, clear: () => Promise.reject(refused("down", "wait")) };
    const solver = place.solver(broken);
    await solver.present(question("one"), noSignal());
    await assert.rejects(solver.remove(question("one")), /down/);
    const later = { now: () => Date.now() + 16 * 60_000 };
    await place.solver(broken, later).sweep();
    assert.equal((await place.left(ZONE)).length, 2);
    await place.solver(place.provider, later).sweep();
    assert.deepEqual(await place.left(ZONE), []);
    await place.home.storage.write("acme/dns-records/garbage.json", "{");
    await place.solver().sweep();
    assert.deepEqual(await place.left(ZONE), []);
  },
);

test(
  "where the provider keeps one value, two processes take turns with a pause between",
  { skip: needsBind, timeout },
  async (t) => {
    const place = await makePlace(t);
    const events: { what: string; at: number }[] = [];
    const note = (what: string): void => void events.push({ what, at: performance.now() });
    const single: DnsProvider = {
      ...place.provider,
      kind: "duckdns",
      oneAtATimeMs: 400,
      async present(name, value, signal) {
        note("present");
        await place.provider.present(name, value, signal);
      },
      async clear(name, value, signal) {
        await place.provider.clear(name, value, signal);
        note("clear");
      },
    };
    const [one, other] = [place.solver(single), place.solver(single)];
    await one.present(question("one"), noSignal());
    const second = other.present(question("two"), noSignal());
    await one.present(question("one"), noSignal()); // repeating is not a new turn
    await one.remove(question("one"));
    await second;
    await other.remove(question("two"));
    await other.present(question("three"), noSignal());
    await other.remove(question("three"));
    assert.deepEqual(
      events.map(({ what }) => what),
      ["present", "present", "clear", "present", "clear", "present", "clear"],
    );
    const pauses = [3, 5].map((at) => (events[at]?.at ?? 0) - (events[at - 1]?.at ?? 0));
    assert.ok(
      pauses.every((pause) => pause >= 390),
      `${pauses.join(" and ")} ms`,
    );
  },
);
