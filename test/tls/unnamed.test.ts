/**
 * Which site a client means that names nobody: the address it came to, or the only one there can be behind a router.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { siteAt } from "../../src/tls/unnamed.ts";

const sites = (...addresses: string[]) => new Map(addresses.map((each) => [each, each]));

const cases: [addresses: string[], local: string, site: string | undefined][] = [
  [[], "192.168.0.10", undefined],
  [["203.0.113.5"], "203.0.113.5", "203.0.113.5"],
  [["203.0.113.5"], "192.168.0.10", "203.0.113.5"],
  [["203.0.113.5"], "203.0.113.6", undefined],
  [["203.0.113.5", "203.0.113.6"], "192.168.0.10", undefined],
  [["203.0.113.5", "203.0.113.6"], "203.0.113.6", "203.0.113.6"],
  [["203.0.113.5", "192.168.0.10"], "192.168.0.10", "192.168.0.10"],
  [["203.0.113.5", "2001:db8::1"], "192.168.0.10", "203.0.113.5"],
  [["203.0.113.5", "2001:db8::1"], "fd00::10", "2001:db8::1"],
  [["203.0.113.5"], "fd00::10", undefined],
  [["2001:db8::1"], "2001:db8::2", undefined],
];
for (const [addresses, local, site] of cases) {
  test(`with sites at ${addresses.join(" and ") || "no address"} whoever comes to ${local} means ${site ?? "none"}`, () => {
    assert.equal(siteAt(sites(...addresses), local), site);
  });
}
