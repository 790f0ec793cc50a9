/**
 * Several names in one certificate, and a rehearsal at the CA's staging, by the whole program and a real CA (Debian's pebble).
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";
import { freePort } from "../support/target.ts";
import { certificateShown, statusOf } from "../support/tls-client.ts";

const SITE = "home.example.org";
const WITHIN_MS = 60_000;

async function shown(port: number, servername: string, ca: string): Promise<{ serial: string; names: string }> {
  const { serialNumber: serial, subjectaltname: names = "" } = await certificateShown({ port, servername, ca });
  return { serial, names: names.split(", ").sort().join(" ") };
}

test(
  "the names of a site share one certificate; a further one is ordered at once, one taken out goes with the next renewal",
  { skip: needsPebble },
  async (t) => {
    const folder = await temporaryFolder(t);
    const httpPort = await freePort();
    const pebble = await startPebble(t, { httpPort });
    await writeFile(join(folder, "ca.pem"), pebble.caPem);
    const config = (...further: string[]) =>
      configText(
        folder,
        `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}" }
sites: { ${SITE}: { to: demo, names: [${further.join(", ")}] } }
`,
      ).replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${httpPort}"`);
    const gatehouse = await startGatehouse(t, { folder, config: config("www.example.org") });
    const first = await gatehouse.line("certificate.issued", undefined, WITHIN_MS);
    const rootPem = await pebble.rootPem();
    const port = gatehouse.httpsPort;
    const both = await shown(port, SITE, rootPem);
    assert.equal(both.names, `DNS:${SITE} DNS:www.example.org`);
    assert.deepEqual(await shown(port, "www.example.org", rootPem), both);
    for (const name of [SITE, "www.example.org"])
      assert.equal(await statusOf({ port, servername: name, ca: rootPem }), 200, name);
    assert.equal(pebble.orders(), 1);

    const change = async (...further: string[]): Promise<void> => {
      await writeFile(gatehouse.configFile, config(...further));
      const reloaded = await gatehouse.cli("reload");
      assert.equal(reloaded.code, 0, reloaded.stderr);
    };
    await change("www.example.org", "new.example.org");
    const second = await gatehouse.line("certificate.issued", (line) => line["serial"] !== first["serial"], WITHIN_MS);
    const three = await shown(port, "new.example.org", rootPem);
    assert.equal(three.serial, second["serial"]);
    assert.equal(three.names, `DNS:${SITE} DNS:new.example.org DNS:www.example.org`);
    assert.equal(pebble.orders(), 2);

    await change("new.example.org");
    await assert.rejects(shown(port, "www.example.org", rootPem), "a name taken out is refused at once");
    assert.equal((await shown(port, "new.example.org", rootPem)).serial, three.serial, "what is there goes on serving");
    const further = await gatehouse.cli("issue", "new.example.org");
    assert.equal(further.code, 65);
    assert.match(further.stderr, /stands in the certificate of home\.example\.org/);
    const kept = await gatehouse.cli("issue", SITE);
    assert.match(kept.stdout, /not due/);
    assert.equal(pebble.orders(), 2);
    assert.equal((await gatehouse.cli("renew", SITE)).code, 0);
    assert.equal((await shown(port, SITE, rootPem)).names, `DNS:${SITE} DNS:new.example.org`);
    assert.equal(await gatehouse.stop(), 0);
  },
);

test(
  "issue --staging has the names checked at the CA's staging, spends nothing at the CA and keeps what serves",
  { skip: needsPebble },
  async (t) => {
    const folder = await temporaryFolder(t);
    const httpPort = await freePort();
    const [ca, staging] = await Promise.all([
      startPebble(t, { httpPort }),
      startPebble(t, { httpPort, domainBlocklist: ["blocked.example.org"] }),
    ]);
    await writeFile(join(folder, "ca.pem"), `${ca.caPem}\n${staging.caPem}`);
    const gatehouse = await startGatehouse(t, {
      folder,
      config: configText(
        folder,
        `acme: { ca: "${ca.directoryUrl}", staging: "${staging.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}" }
sites: { ${SITE}: demo, blocked.example.org: demo }
`,
      ).replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${httpPort}"`),
    });
    for (const name of [SITE, "blocked.example.org"]) {
      await gatehouse.line("certificate.issued", (line) => line["name"] === name, WITHIN_MS);
    }
    const rootPem = await ca.rootPem();
    const before = await shown(gatehouse.httpsPort, SITE, rootPem);
    assert.deepEqual([ca.orders(), staging.orders()], [2, 0]);

    const passed = await gatehouse.cli("issue", SITE, "--staging");
    assert.equal(passed.code, 0, passed.stderr);
    assert.match(passed.stdout, /home\.example\.org: the rehearsal went well/);
    assert.deepEqual([ca.orders(), staging.orders()], [2, 1]);
    assert.equal((await shown(gatehouse.httpsPort, SITE, rootPem)).serial, before.serial);

    const refused = await gatehouse.cli("issue", "blocked.example.org", "--staging");
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /blocked\.example\.org/);
    assert.equal(ca.orders(), 2);
    assert.equal(await gatehouse.stop(), 0);
  },
);
