/**
 * The whole program proves names without port 80: on port 443 alone, over two workers, and in a zone for a wildcard.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { test } from "node:test";
import { needsBind, startBind } from "../support/bind.ts";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";
import { freePort, startTarget } from "../support/target.ts";

async function fetchText(port: number, name: string, ca: string): Promise<string> {
  const asked = request({ port, host: "127.0.0.1", servername: name, headers: { host: name }, ca, agent: false });
  asked.end();
  const [res] = (await once(asked, "response")) as [import("node:http").IncomingMessage];
  let text = "";
  for await (const chunk of res) text += String(chunk);
  return text;
}

for (const workers of [1, 2]) {
  test(`with port 443 alone and ${workers} worker(s) a name gets its certificate`, { skip: needsPebble }, async (t) => {
    const folder = await temporaryFolder(t);
    const httpsPort = await freePort();
    const pebble = await startPebble(t, { httpPort: 1, tlsPort: httpsPort });
    await writeFile(join(folder, "ca.pem"), pebble.caPem);
    const target = await startTarget(t, (_, res) => res.end("inside"));
    const config = configText(
      folder,
      `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}" }
workers: ${workers}
sites: { home.example.org: "127.0.0.1:${target.port}" }`,
    ).replace(/^listen:.*$/m, `listen: { https: "127.0.0.1:${httpsPort}", http: [] }`);
    const gatehouse = await startGatehouse(t, { folder, config });
    const chosen = await gatehouse.line("acme.challenge.chosen", undefined, 60_000);
    assert.equal(chosen["challenge"], "tls-alpn-01");
    await gatehouse.line("certificate.issued", undefined, 60_000);
    assert.equal(await fetchText(httpsPort, "home.example.org", await pebble.rootPem()), "inside");
    assert.equal(await gatehouse.stop(), 0);
  });
}

test(
  "a wildcard is proved in a zone of one's own, with the key in a file, and the zone is clean after",
  { skip: needsPebble || needsBind },
  async (t) => {
    const folder = await temporaryFolder(t);
    const bind = await startBind(t, { zone: "home.test" });
    const pebble = await startPebble(t, { httpPort: 1, dnsServer: `127.0.0.1:${bind.port}` });
    await writeFile(join(folder, "ca.pem"), pebble.caPem);
    await writeFile(join(folder, "tsig"), `${bind.key.secret}\n`);
    const target = await startTarget(t, (_, res) => res.end("inside"));
    const server = `127.0.0.1:${bind.port}`;
    const config = configText(
      folder,
      `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}" }
dns: { resolvers: "${server}", nameServers: "${server}" }
rfc2136: { server: "${server}", key: { name: ${bind.key.name}, secret: "file:${join(folder, "tsig")}" } }
sites: { "*.home.test": "127.0.0.1:${target.port}" }`,
    );
    const gatehouse = await startGatehouse(t, { folder, config });
    await gatehouse.line("certificate.issued", undefined, 60_000);
    assert.equal(await fetchText(gatehouse.httpsPort, "any.home.test", await pebble.rootPem()), "inside");
    assert.deepEqual(await bind.dig("_acme-challenge.home.test", "TXT"), []);
    assert.equal(await gatehouse.stop(), 0);
    assert.doesNotMatch(
      gatehouse.lines.map((line) => JSON.stringify(line)).join("\n"),
      new RegExp(bind.key.secret.slice(0, 20)),
    );
  },
);
