/**
 * An address at home that is another one than before: what is kept of it, and what the doctor says.
 */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { lookAtLan } from "../../src/doctor/lan.ts";
import type { Gateway } from "../../src/network/gateway.ts";
import { type HomeAddress, movedTo, readHomeAddress } from "../../src/network/home-address.ts";
import type { RouterReport } from "../../src/network/router-report.ts";
import { adminActions } from "../support/admin-actions.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

const DAY = 86_400_000;
const home: Gateway = {
  address: "192.168.0.1",
  interface: "lo",
  ownAddress: "192.168.0.50",
  ownMac: "02:00:00:aa:bb:cc",
  ipv6: undefined,
};

test("an address is kept from when on it is so, with the one before; going back is no change", () => {
  const first = movedTo(undefined, "192.168.0.50", 1);
  assert.deepEqual(first, { address: "192.168.0.50", since: 1, before: undefined });
  assert.equal(movedTo(first, "192.168.0.50", 2), first);
  const second = movedTo(first, "192.168.0.60", 3);
  assert.deepEqual(second, { address: "192.168.0.60", since: 3, before: { address: "192.168.0.50", until: 3 } });
  assert.deepEqual(movedTo(second, "192.168.0.50", 4), { address: "192.168.0.50", since: 4, before: undefined });
  assert.deepEqual(readHomeAddress(Buffer.from(JSON.stringify(second))), second);
  for (const damaged of [undefined, "", "{", "null", '{"address":7,"since":1}']) {
    assert.equal(readHomeAddress(damaged === undefined ? undefined : Buffer.from(damaged)), undefined, damaged);
  }
});

const moved = (daysAgo: number): HomeAddress => ({
  address: home.ownAddress,
  since: Date.now() - daysAgo * DAY,
  before: { address: "192.168.0.40", until: Date.now() - daysAgo * DAY },
});
const unmapped: Partial<RouterReport> = { map: "off", ports: [] };

const cases: [what: string, kept: HomeAddress | undefined, router: Partial<RouterReport>, code: string | undefined][] =
  [
    ["was never written down", undefined, unmapped, undefined],
    ["is what it was", { address: home.ownAddress, since: 1, before: undefined }, unmapped, undefined],
    ["changed a week ago", moved(7), unmapped, "LAN_ADDRESS_CHANGED warning"],
    [
      "changed a week ago, and the router's mappings went along",
      moved(7),
      { map: "auto", ports: [] },
      "LAN_ADDRESS_CHANGED note",
    ],
    ["changed in spring", moved(90), unmapped, undefined],
    [
      "has changed, and nobody noticed yet",
      { address: "192.168.0.40", since: 1, before: undefined },
      unmapped,
      "LAN_ADDRESS_CHANGED warning",
    ],
  ];

for (const [what, kept, change, code] of cases) {
  test(`an address that ${what}: ${code ?? "nothing to say"}`, async (t) => {
    const state = await temporaryFolder(t);
    if (kept !== undefined) {
      await mkdir(join(state, "home"));
      await writeFile(join(state, "home/address"), JSON.stringify(kept));
    }
    const { report } = await adminActions().router();
    const router: RouterReport = { ...report, error: undefined, ...change };
    const notes = await lookAtLan({ home, state, router, signal: new AbortController().signal });
    const found = notes.find((one) => one.code === "LAN_ADDRESS_CHANGED");
    assert.equal(found && `${found.code} ${found.severity}`, code);
    if (found !== undefined) assert.match(found.next ?? "", /192\.168\.0\.50 in the place of 192\.168\.0\.40/);
  });
}
