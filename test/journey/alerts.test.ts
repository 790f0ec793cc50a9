/**
 * From a CA's refusal to the phone on the table: a whole Gatehouse, a real CA (Debian's pebble), a real receiver.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";
import { freePort } from "../support/target.ts";

test(
  "a refused name is told in plain words with the next step, and never again for it over a restart",
  { skip: needsPebble },
  async (t) => {
    const folder = await temporaryFolder(t);
    const httpPort = await freePort();
    const name = "blocked.example.net";
    const pebble = await startPebble(t, { httpPort, domainBlocklist: [name] });
    await writeFile(join(folder, "ca.pem"), pebble.caPem);
    const got: Record<string, unknown>[] = [];
    const arrived = Promise.withResolvers<void>();
    const hook = createServer((req, res) => {
      let body = "";
      req.on("data", (chunk: Buffer) => (body += chunk.toString()));
      req.on("end", () => {
        got.push(JSON.parse(body) as Record<string, unknown>);
        res.end();
        arrived.resolve();
      });
    });
    const hookPort = await freePort();
    await new Promise<void>((resolve) => hook.listen(hookPort, "127.0.0.1", resolve));
    t.after(() => {
      hook.closeAllConnections();
      hook.close();
    });
    const config = configText(
      folder,
      `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}" }
notify: { webhooks: "http://127.0.0.1:${hookPort}/hidden-path" }
sites: { ${name}: demo }
`,
    ).replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${httpPort}"`);
    const first = await startGatehouse(t, { folder, config });
    await first.line("notify.sent", undefined, 30_000);
    await arrived.promise;
    const [alert] = got;
    assert.equal(alert?.["severity"], "critical");
    assert.equal(alert["title"], `${name}: no certificate can be had`);
    assert.match(String(alert["message"]), /the CA does not sign for this name/);
    assert.match(String(alert["nextStep"]), /^Use another name, or another CA/);

    const tested = await first.cli("notify", "test");
    assert.equal(tested.stdout, `json at 127.0.0.1:${hookPort}: sent\n`);
    assert.equal(tested.code, 0);
    assert.equal(got.length, 2);
    const { body } = await fetch(`http://127.0.0.1:${first.metricsPort}/metrics`).then(async (res) => ({
      body: await res.text(),
    }));
    assert.match(body, new RegExp(`^gatehouse_acme_next_try_timestamp_seconds\\{name="${name}"\\} \\d`, "m"));
    assert.match(body, /^gatehouse_notify_messages_total\{kind="webhook",outcome="ok"\} 1$/m);
    assert.doesNotMatch(JSON.stringify(first.lines), /hidden-path/);
    await first.stop();

    const second = await startGatehouse(t, { folder, config });
    await second.cli("renew", name);
    await second.line("certificate.failed", undefined, 30_000);
    assert.equal((await second.cli("notify", "test")).code, 0, "the next message is the test");
    assert.equal(got.length, 3);
    assert.equal(got[2]?.["key"], "test");
  },
);
