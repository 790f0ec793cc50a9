/**
 * The doctor that looks by itself: what it found stands in the status, and it goes on looking.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { createAdminServer } from "../../src/admin/server.ts";
import { loadConfig } from "../../src/config/load.ts";
import { createCheckups } from "../../src/keeping/checkups.ts";
import { adminActions } from "../support/admin-actions.ts";
import { configText, runCli, temporaryFolder } from "../support/gatehouse.ts";
import { eventually } from "../support/eventually.ts";
import { keptLog } from "../support/log-lines.ts";

test("what the doctor found by itself is told by the running one, as gatehouse status shows it", async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, "gatehouse.yaml");
  // A target that nobody is: the port was free a moment ago.
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  await writeFile(file, configText(folder, `sites: { home.localhost: "127.0.0.1:${port}" }`));
  const { config } = await loadConfig(file, { env: {} });
  const { log, lines } = keptLog();
  const { companion, actions } = createCheckups({ log, firstMs: 1 });
  const report = { ...(await adminActions().status()), listeners: [] };
  const admin = createAdminServer({
    path: config.admin,
    actions: adminActions({
      ...actions,
      status: () => Promise.resolve(report),
      certificates: () => Promise.resolve([]),
    }),
    log,
  });
  await admin.listen();
  t.after(() => admin.close());
  assert.deepEqual(await actions.doctor(), { last: undefined });
  await companion.apply(config);
  t.after(() => companion.stop());
  const said = () => lines().find(({ event }) => event === "doctor.looked");
  await eventually("it has looked", () => said() !== undefined, 60_000);
  // The router of the answers for tests is behind a provider's NAT.
  assert.deepEqual(said()?.["codes"], ["TARGET_REFUSES", "CGNAT"]);
  const { stdout } = await runCli(["status", "--config", file, "--json"]);
  const { doctor } = JSON.parse(stdout) as { doctor: { ok: boolean; summary: string; findings: { code: string }[] } };
  assert.match(doctor.summary, /^Nothing listens at 127\.0\.0\.1:\d+/);
  assert.deepEqual([doctor.ok, doctor.findings[0]?.code], [false, "TARGET_REFUSES"]);
  assert.match((await runCli(["status", "--config", file])).stdout, /^Doctor +Nothing listens at .*ago\)$/m);
});
