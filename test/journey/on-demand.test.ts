/**
 * Certificates on demand by the whole program and a real CA (Debian's pebble), over two workers: the first handshake is
 * refused, the operator's program is asked, and the certificate comes; nobody else gets one.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";
import { freePort } from "../support/target.ts";
import { statusOf } from "../support/tls-client.ts";

const WITHIN_MS = 60_000;

test(
  "a name below a star is ordered when it is first asked for and the program allows it; a restart keeps it and orders nothing",
  { skip: needsPebble },
  async (t) => {
    const folder = await temporaryFolder(t);
    const httpPort = await freePort();
    const pebble = await startPebble(t, { httpPort });
    await writeFile(join(folder, "ca.pem"), pebble.caPem);
    const wanted: string[] = [];
    const program = createServer((req, res) => {
      const name = new URL(req.url ?? "", "http://x").searchParams.get("domain") ?? "";
      wanted.push(name);
      res.writeHead(name.startsWith("shop-") ? 200 : 404).end();
    });
    program.listen(0, "127.0.0.1");
    await once(program, "listening");
    t.after(() => {
      program.closeAllConnections();
      program.close();
    });
    const { port: programPort } = program.address() as { port: number };
    const config = configText(
      folder,
      `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}" }
workers: 2
sites:
  fixed.example.org: demo
  "*.example.org":
    to: demo
    onDemand: { ask: "http://127.0.0.1:${programPort}/wanted", perHour: 2 }
`,
    ).replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${httpPort}"`);
    const first = await startGatehouse(t, { folder, config });
    await first.line("certificate.issued", (line) => line["name"] === "fixed.example.org", WITHIN_MS);
    const rootPem = await pebble.rootPem();
    const asks = (servername: string, { httpsPort: port } = first) => statusOf({ port, servername, ca: rootPem });

    await assert.rejects(asks("shop-1.example.org"), "the first handshake waited for a CA");
    await first.line("on_demand.taken", (line) => line["name"] === "shop-1.example.org", WITHIN_MS);
    await first.line("certificate.issued", (line) => line["name"] === "shop-1.example.org", WITHIN_MS);
    for (let round = 0; round < 4; round++) assert.equal(await asks("shop-1.example.org"), 200);

    for (let round = 0; round < 4; round++) await assert.rejects(asks("scanner.example.org"));
    await first.line("on_demand.refused", (line) => line["name"] === "scanner.example.org", WITHIN_MS);
    assert.equal(wanted.filter((name) => name === "scanner.example.org").length, 1);

    await assert.rejects(asks("shop-2.example.org"));
    await first.line("certificate.issued", (line) => line["name"] === "shop-2.example.org", WITHIN_MS);
    await assert.rejects(asks("shop-3.example.org"));
    const full = await first.line("on_demand.full", undefined, WITHIN_MS);
    assert.equal(full["limit"], "perHour: 2");
    assert.equal(pebble.orders(), 3);
    assert.match((await first.cli("ls")).stdout, /shop-1\.example\.org/);
    const renewed = await first.cli("renew", "shop-1.example.org");
    assert.equal(renewed.code, 0, renewed.stderr);
    assert.equal(await first.stop(), 0);

    const questions = wanted.length;
    const second = await startGatehouse(t, { folder, config });
    // The certificate lies on the disk: this handshake waits for that and nothing else.
    for (const name of ["shop-1.example.org", "shop-2.example.org"]) {
      assert.equal(await asks(name, second), 200, name);
    }
    assert.equal(wanted.length, questions);
    assert.equal(pebble.orders(), 4);
    assert.equal(await second.stop(), 0);
  },
);
