/**
 * Who gets a place, and who gives one up?
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createArrivals } from "../../src/proxy/front/arrivals.ts";
import { createConnectionBounds, type Seat } from "../../src/proxy/front/bounds.ts";
import { checkOpenFiles, filesAllowed, filesWanted } from "../../src/proxy/front/files.ts";
import { createTunnelBounds } from "../../src/proxy/limits-tunnels.ts";
import { limitsConfig } from "../support/proxy-lane.ts";

interface House {
  /** A connection of this address: its seat, or the limit that kept it out. `log` hears who was sent away, by name. */
  come(address: string, name?: string, isHandshake?: boolean): Seat | string;
  seated(address: string, name?: string, isHandshake?: boolean): Seat;
  sentAway: string[];
  open(): number;
  later(ms: number): void;
}

function house(changes: Parameters<typeof limitsConfig>[0]): House {
  const limits = limitsConfig(changes);
  let now = 1_000_000;
  const sentAway: string[] = [];
  const bounds = createConnectionBounds(
    () => limits,
    () => now,
  );
  const come: House["come"] = (address, name = address, isHandshake = false) =>
    bounds.admit(address, { isHandshake, giveUp: (limit) => void sentAway.push(`${name} ${limit}`) });
  return {
    come,
    seated(address, name, isHandshake) {
      const seat = come(address, name, isHandshake);
      assert.ok(typeof seat === "object", `no seat for ${name ?? address}`);
      return seat;
    },
    sentAway,
    open: () => bounds.open(),
    later: (ms) => (now += ms),
  };
}

test("strangers count by IPv4 address or IPv6 /64", () => {
  for (const [one, other, areOne] of [
    ["192.0.2.1", "::ffff:192.0.2.1", true],
    ["192.0.2.1", "192.0.2.2", false],
    ["2001:db8::1", "2001:db8:0:0:ffff::", true],
    ["2001:db8::1", "2001:db8:0:1::1", false],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", true],
    ["64:ff9b::192.0.2.1", "64:ff9b::198.51.100.7", true],
  ] as const) {
    const single = house({ connectionsPerAddress: 1 });
    single.seated(one);
    assert.equal(single.come(other) === "connections_per_address", areOne, `${one} and ${other}`);
  }
});

test("neighbours have more room, the reserve is not for strangers, the whole has an end", () => {
  const { come, seated, open } = house({
    connections: 8,
    connectionsReserved: 1,
    connectionsPerAddress: 2,
    connectionsPerNeighbour: 4,
    exempt: ["203.0.113.0/24"],
  });
  const first = seated("2001:db8::1");
  seated("2001:db8::2").began();
  assert.equal(come("2001:db8::3"), "connections_per_address");
  first.leave();
  first.leave();
  seated("2001:db8::3").began();
  for (let count = 0; count < 4; count++) seated("::ffff:192.168.0.7").began();
  assert.equal(come("192.168.0.7"), "connections_per_neighbour");
  seated("198.51.100.1");
  assert.equal(come("198.51.100.2"), "connections", "the last one is not for strangers");
  seated("203.0.113.1");
  assert.equal(come("203.0.113.1"), "connections", "all is full");
  assert.equal(open(), 8);
});

test("when it is full the newest of the largest idle crowd goes, and nobody who is being served", () => {
  const { seated, come, later, sentAway, open } = house({ connections: 8, connectionsReserved: 0 });
  const served = seated("198.51.100.1", "served");
  served.began();
  seated("198.51.100.2", "alone");
  later(10);
  for (const name of ["first", "second", "third", "fourth"]) {
    seated("192.0.2.1", name);
    later(10);
  }
  seated("192.168.0.9", "neighbour");
  seated("192.168.0.9", "neighbour");
  assert.equal(come("192.0.2.1"), "connections", "all of them have just come");
  seated("203.0.113.5", "newcomer");
  assert.deepEqual(sentAway, ["fourth connections"]);
  assert.equal(open(), 8);
  later(60_000);
  seated("203.0.113.6", "another");
  assert.deepEqual(sentAway.slice(1), ["third connections"]);
});

test("an answer that has just ended keeps its place for a moment, and a tunnel for ever", () => {
  const { seated, come, later, sentAway } = house({ connections: 8, connectionsReserved: 0 });
  const kept = seated("198.51.100.1", "kept");
  for (let count = 0; count < 7; count++) seated(`192.0.2.${count}`, "tunnel").began();
  kept.began();
  later(60_000);
  assert.equal(come("203.0.113.1"), "connections");
  kept.ended();
  assert.equal(come("203.0.113.1"), "connections");
  later(1_000);
  seated("203.0.113.1");
  assert.deepEqual(sentAway, ["kept connections"]);
});

test("strangers never take the place of a neighbour, and nobody that of the owner", () => {
  const { seated, come, later, sentAway } = house({
    connections: 8,
    connectionsReserved: 0,
    exempt: ["203.0.113.7/32"],
  });
  for (let count = 0; count < 4; count++) seated("192.168.0.9", "neighbour");
  for (let count = 0; count < 4; count++) seated("203.0.113.7", "owner");
  later(60_000);
  assert.equal(come("198.51.100.1"), "connections");
  later(60_000);
  seated("192.168.0.10");
  later(60_000);
  seated("203.0.113.7");
  assert.deepEqual(sentAway, ["neighbour connections", "neighbour connections"]);
});

test("a fast flood of one network does not keep the others out", () => {
  const { seated, come, sentAway } = house({ connections: 64, connectionsReserved: 0, handshakes: 16 });
  for (let count = 0; count < 16; count++) seated("192.0.2.1", "flood", true);
  assert.equal(come("192.0.2.1", "flood", true), "handshakes", "its own crowd has a moment of grace");
  seated("198.51.100.1", "honest", true);
  for (let count = 0; count < 40; count++) come("192.0.2.1", "flood", true);
  seated("198.51.100.2", "another", true);
  assert.deepEqual([...new Set(sentAway)], ["flood handshakes"]);
});

test("handshakes have a limit of their own, and a slow one makes room for the next", () => {
  const { seated, come, later, sentAway } = house({ handshakes: 4, exempt: ["203.0.113.7/32"] });
  const done = seated("192.0.2.1", "done", true);
  for (let count = 2; count < 5; count++) seated(`192.0.2.${count}`, "slow", true);
  assert.equal(come("198.51.100.1", "next", true), "handshakes");
  seated("203.0.113.7", "owner", true);
  done.secured();
  done.secured();
  assert.equal(come("198.51.100.1", "next", true), "handshakes", "the owner's counts as well");
  later(1_000);
  seated("198.51.100.1", "next", true);
  assert.deepEqual(sentAway, ["slow handshakes"]);
});

test("who comes too often is kept out until the ten seconds are over; a neighbour is not counted", () => {
  const { seated, come, later } = house({ newConnectionsPerAddress: 3 });
  for (let count = 0; count < 3; count++) seated("192.0.2.1").leave();
  assert.equal(come("192.0.2.1"), "new_connections_per_address");
  seated("192.0.2.2");
  for (let count = 0; count < 20; count++) seated("192.168.0.9").leave();
  later(9_999);
  assert.equal(come("192.0.2.1"), "new_connections_per_address");
  later(1);
  seated("192.0.2.1");
});

test("only so many networks are remembered: the first is forgotten for the newest", () => {
  const arrivals = createArrivals(() => 0);
  assert.equal(arrivals.mayCome("first", 1), true);
  for (let count = 0; count < 4_095; count++) arrivals.mayCome(`${count}`, 1);
  assert.equal(arrivals.mayCome("first", 1), false);
  assert.equal(arrivals.mayCome("one too many", 1), true);
  assert.equal(arrivals.mayCome("first", 1), true);
});

test("tunnels end in all and per stranger, and a tunnel that ends makes room", () => {
  const limits = limitsConfig({ tunnels: 5, tunnelsPerAddress: 2, exempt: ["203.0.113.7/32"] });
  const bounds = createTunnelBounds(() => limits);
  const dig = (address: string) => bounds.admit(address);
  const first = dig("192.0.2.1");
  assert.equal(typeof dig("192.0.2.1"), "function");
  assert.equal(dig("192.0.2.1"), "tunnels_per_address");
  assert.ok(typeof first === "function");
  first();
  for (let count = 0; count < 3; count++) assert.equal(typeof dig("192.168.0.9"), "function");
  assert.equal(typeof dig("203.0.113.7"), "function");
  assert.equal(dig("203.0.113.7"), "tunnels");
});

test("too few file descriptors are said once, with what to do; enough of them are not", async () => {
  const limits = limitsConfig({ connections: 1_000_00 });
  const lines: Record<string, unknown>[] = [];
  const log = { warn: (line: Record<string, unknown>) => void lines.push(line) };
  const text = "Max open files            1024                 1048576              files     \n";
  assert.equal(filesAllowed(text), 1_024);
  assert.equal(filesAllowed("Max open files            unlimited            unlimited            files"), undefined);
  assert.ok(filesWanted(limitsConfig()) < 4_096);
  await checkOpenFiles(limits, log, import.meta.filename);
  assert.deepEqual(lines, [], "what cannot be known is not warned of");
  await checkOpenFiles({ ...limits, connections: 2_000_000_000 }, log);
  if (process.platform === "linux") assert.match(String(lines[0]?.["hint"]), /LimitNOFILE=.*limits\.connections/);
});
