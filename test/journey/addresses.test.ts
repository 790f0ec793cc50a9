/**
 * Sites that are addresses (RFC 8738), by the whole program and a real CA (Debian's pebble): proved on port 80 and on port
 * 443, served to clients that name nobody, beside a site with a name, and not in its place.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { get } from "node:http";
import { request } from "node:https";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";
import { freePort } from "../support/target.ts";
import { certificateShown } from "../support/tls-client.ts";

const WITHIN_MS = 60_000;
const hasIpv6 = Object.values(networkInterfaces()).some(
  (all) => all?.some(({ address }) => address === "::1") === true,
);

/** No SNI: the client checks the address in the certificate. */
async function visit(host: string, port: number, ca: string): Promise<{ status: number | undefined; names: string }> {
  const asked = request({ host, port, ca, servername: "", agent: false });
  asked.end();
  const [res] = (await once(asked, "response")) as [import("node:http").IncomingMessage];
  const socket = res.socket as import("node:tls").TLSSocket;
  const { subjectaltname: names = "" } = socket.getPeerCertificate();
  res.resume();
  await once(res, "end");
  return { status: res.statusCode, names };
}

const namesFor = async (port: number, servername: string, ca: string): Promise<string | undefined> =>
  (await certificateShown({ port, servername, ca })).subjectaltname;

test("an address gets its certificate and is served to clients without a name", { skip: needsPebble }, async (t) => {
  const folder = await temporaryFolder(t);
  const httpPort = await freePort();
  const pebble = await startPebble(t, { httpPort });
  await writeFile(join(folder, "ca.pem"), pebble.caPem);
  const both = (port: number) => JSON.stringify([`127.0.0.1:${port}`, ...(hasIpv6 ? [`[::1]:${port}`] : [])]);
  const httpsPort = await freePort();
  const config = configText(
    folder,
    `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}" }
sites: { 127.0.0.1: demo, home.example.org: demo${hasIpv6 ? ', "[0:0::1]": demo' : ""} }
`,
  ).replace(/^listen:.*$/m, `listen: { https: ${both(httpsPort)}, http: ${both(httpPort)} }`);
  const gatehouse = await startGatehouse(t, { folder, config });
  for (const name of ["127.0.0.1", "home.example.org", ...(hasIpv6 ? ["::1"] : [])]) {
    await gatehouse.line("certificate.issued", (line) => line["name"] === name, WITHIN_MS);
  }
  const rootPem = await pebble.rootPem();
  assert.deepEqual(await visit("127.0.0.1", httpsPort, rootPem), { status: 200, names: "IP Address:127.0.0.1" });
  if (hasIpv6) {
    const six = await visit("::1", httpsPort, rootPem);
    assert.deepEqual(six, { status: 200, names: "IP Address:0:0:0:0:0:0:0:1" });
  }
  assert.equal(await namesFor(httpsPort, "home.example.org", rootPem), "DNS:home.example.org");
  await assert.rejects(namesFor(httpsPort, "other.example.org", rootPem));

  const plain = get({ host: "127.0.0.1", port: httpPort, agent: false });
  const [answer] = (await once(plain, "response")) as [import("node:http").IncomingMessage];
  answer.resume();
  assert.equal(answer.statusCode, 308);
  assert.equal(answer.headers.location, `https://127.0.0.1:${httpsPort}/`);

  const renewed = await gatehouse.cli("renew", "127.0.0.1");
  assert.equal(renewed.code, 0, renewed.stderr);
  assert.equal((await visit("127.0.0.1", httpsPort, rootPem)).status, 200);
  assert.equal(await gatehouse.stop(), 0);
});

test("an address is proved on port 443 alone, by its reverse name", { skip: needsPebble }, async (t) => {
  const folder = await temporaryFolder(t);
  const httpsPort = await freePort();
  const pebble = await startPebble(t, { httpPort: 1, tlsPort: httpsPort });
  await writeFile(join(folder, "ca.pem"), pebble.caPem);
  const config = configText(
    folder,
    `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}" }
sites: { 127.0.0.1: demo }
`,
  ).replace(/^listen:.*$/m, `listen: { https: "127.0.0.1:${httpsPort}", http: [] }`);
  const gatehouse = await startGatehouse(t, { folder, config });
  const chosen = await gatehouse.line("acme.challenge.chosen", undefined, WITHIN_MS);
  assert.equal(chosen["challenge"], "tls-alpn-01");
  await gatehouse.line("certificate.issued", undefined, WITHIN_MS);
  assert.equal((await visit("127.0.0.1", httpsPort, await pebble.rootPem())).status, 200);
  assert.equal(await gatehouse.stop(), 0);
});
