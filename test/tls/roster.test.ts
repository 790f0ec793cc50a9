/**
 * The table of names that a configuration makes: what clients may ask for, and where the certificate is.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SiteConfig } from "../../src/config/model.ts";
import { readRoster } from "../../src/tls/roster.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";

const DEMAND = { ask: undefined, match: [], perHour: 1, most: 1 };
const THROUGH = {
  target: { host: "10.0.0.2", port: 443, text: "10.0.0.2:443" },
  isPublic: false,
  proxyProtocol: undefined,
  idleMs: 1,
};

const site = (name: string, more: Partial<SiteConfig> = {}): SiteConfig => siteConfig(name, targetConfig(80), more);

test("further names, stars on demand, addresses, passthrough and client certificates each have their place", async () => {
  const { names, asked, addresses, asking } = await readRoster([
    site("a.test", { names: ["www.a.test", "203.0.113.9"], clientCert: "required" }),
    site("*.b.test", { onDemand: DEMAND }),
    site("203.0.113.5"),
    site("nas.test", { passthrough: THROUGH, clientCert: "optional" }),
  ]);
  assert.deepEqual([...names], ["a.test", "203.0.113.5"]);
  assert.deepEqual(
    [...asked],
    [
      ["a.test", "a.test"],
      ["www.a.test", "a.test"],
      ["203.0.113.9", "a.test"],
      ["*.b.test", undefined],
      ["203.0.113.5", "203.0.113.5"],
    ],
  );
  assert.deepEqual(
    [...addresses],
    [
      ["203.0.113.9", "a.test"],
      ["203.0.113.5", "203.0.113.5"],
    ],
  );
  assert.deepEqual([...asking], ["a.test", "nas.test"]);
});
