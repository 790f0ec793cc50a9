/**
 * Sets of networks: what Node's own BlockList and inet_pton say is right.
 */
import assert from "node:assert/strict";
import { BlockList, isIPv4 } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { createNetworkSet, plainAddress } from "../../src/core/networks.ts";

const ipv4 = fc.ipV4();
const ipv6 = fc.ipV6();

test("a set holds what a BlockList of the same networks holds, in both families and at every length of prefix", () => {
  const cidr4 = fc.tuple(ipv4, fc.integer({ min: 0, max: 32 }));
  const cidr6 = fc.tuple(ipv6, fc.integer({ min: 0, max: 128 }));
  fc.assert(
    fc.property(
      fc.array(cidr4, { maxLength: 4 }),
      fc.array(cidr6, { maxLength: 4 }),
      fc.array(ipv4),
      fc.array(ipv6),
      (fours, sixes, addresses4, addresses6) => {
        const list = new BlockList();
        for (const [address, bits] of fours) list.addSubnet(address, bits, "ipv4");
        for (const [address, bits] of sixes) list.addSubnet(address, bits, "ipv6");
        const set = createNetworkSet([...fours, ...sixes].map(([address, bits]) => `${address}/${bits}`));
        for (const address of [...addresses4, ...fours.map(([one]) => one)])
          assert.equal(set.has(address), list.check(address, "ipv4"), address);
        for (const address of [...addresses6, ...sixes.map(([one]) => one)])
          assert.equal(set.has(address), list.check(address, "ipv6"), address);
      },
    ),
  );
});

test("what is no address is in no set, not even in the one of all addresses", () => {
  const everything = createNetworkSet(["0.0.0.0/0", "::/0"]);
  const odd = fc.oneof(fc.string(), fc.stringMatching(/^[0-9.]{1,16}$/), fc.stringMatching(/^[0-9a-f:.]{1,20}$/));
  fc.assert(
    fc.property(odd, (text) => {
      if (!text.includes(":")) assert.equal(everything.has(text), isIPv4(text), text);
    }),
  );
  for (const text of [
    "",
    ".",
    "1.2.3",
    "1.2.3.4.",
    "1.2.3.4.5",
    "01.2.3.4",
    "1.2.3.256",
    "1..2.3",
    "1.2.3.-4",
    "::ffff:1.2.3",
  ])
    assert.equal(everything.has(text), false, text);
});

test("a single address is a set of one", () => {
  const set = createNetworkSet(["192.0.2.7", "2001:db8::7"]);
  for (const inside of ["192.0.2.7", "2001:db8::7", "2001:DB8:0::7"]) assert.equal(set.has(inside), true, inside);
  for (const outside of ["192.0.2.8", "2001:db8::8"]) assert.equal(set.has(outside), false, outside);
  assert.equal(plainAddress("::ffff:192.0.2.7"), "192.0.2.7");
});
