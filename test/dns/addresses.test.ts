/**
 * Do the services that keep addresses understand us, do we understand them, and what does the world get in the end?
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ErrorCode, isGatehouseError } from "../../src/core/errors.ts";
import { askDns } from "../../src/dns/ask.ts";
import { createAddressWriter } from "../../src/dns/providers.ts";
import { shownAddresses } from "../../src/dns/shown.ts";
import { createZones } from "../../src/dns/zones.ts";
import { noSignal } from "../support/acme-home.ts";
import { needsBind, startBind } from "../support/bind.ts";
import { startFakeCloudflare, startFakeDuckDns, startFakeDyndns2 } from "../support/fake-dns-apis.ts";

const NAME = "home.ddns.test";

test("a server that there is no way to is an error of the question, and not of the process", async () => {
  // A socket that was not told that it may broadcast is refused this address at once, as one without a route is.
  const server = { host: "255.255.255.255", port: 53 };
  await assert.rejects(askDns(server, { name: NAME, type: "A", recurse: false }, noSignal()), /EACCES|ENETUNREACH/);
});

const dyndns2 = (url: string, password = "fake-token") =>
  createAddressWriter({ kind: "dyndns2", url: `${url}/nic/update`, user: "me", password });

test("dyndns2: both addresses are sent by name, and one kind leaves the other alone", async (t) => {
  const api = await startFakeDyndns2(t);
  const writer = dyndns2(api.url);
  assert.equal(await writer.setAddresses(NAME, { ipv4: "5.6.7.8", ipv6: "2a00::8" }, noSignal()), "shown");
  await writer.setAddresses(NAME, { ipv4: "5.6.7.9" }, noSignal());
  await writer.setAddresses(NAME, { ipv4: "5.6.7.9" }, noSignal());
  assert.deepEqual(api.records(), [`${NAME} A 5.6.7.9`, `${NAME} AAAA 2a00::8`]);
});

const words: [answer: string, status: number, code: ErrorCode, says: RegExp][] = [
  ["badauth", 401, "GATEHOUSE_DNS_REFUSED", /does not know this user and password/],
  ["badauth", 200, "GATEHOUSE_DNS_REFUSED", /does not know this user and password/],
  ["nohost", 200, "GATEHOUSE_DNS_REFUSED", /does not have this name/],
  ["NOHOST\r\n", 404, "GATEHOUSE_DNS_REFUSED", /does not have this name/],
  ["notfqdn", 200, "GATEHOUSE_DNS_REFUSED", /no whole name/],
  ["abuse", 200, "GATEHOUSE_DNS_REFUSED", /blocked the name/],
  ["!donator", 200, "GATEHOUSE_DNS_REFUSED", /paid account/],
  ["badagent", 403, "GATEHOUSE_DNS_REFUSED", /blocked this client/],
  ["good 127.0.0.1", 200, "GATEHOUSE_DNS_REFUSED", /ignores this client/],
  ["911", 200, "GATEHOUSE_DNS_FAILED", /out of order/],
  ["dnserr", 200, "GATEHOUSE_DNS_FAILED", /trouble with its DNS/],
  ["<html>good morning</html>", 200, "GATEHOUSE_DNS_FAILED", /answered <html>/],
  ["", 200, "GATEHOUSE_DNS_FAILED", /answered nothing/],
  ["constructor", 200, "GATEHOUSE_DNS_FAILED", /answered constructor/],
  ["slow down", 429, "GATEHOUSE_DNS_FAILED", /answered 429/],
];
for (const [answer, status, code, says] of words) {
  test(`dyndns2: ${status} ${JSON.stringify(answer)} is ${code}, and the password stands nowhere`, async (t) => {
    const api = await startFakeDyndns2(t);
    api.failWith(status, answer);
    await assert.rejects(dyndns2(api.url).setAddresses(NAME, { ipv4: "5.6.7.8" }, noSignal()), (error) => {
      assert.ok(isGatehouseError(error, code), String(error));
      assert.match(error.message, says);
      assert.doesNotMatch(`${error.message} ${error.hint} ${error.stack}`, /fake-token|bWU6/);
      if (answer === "911") assert.ok((error.notBefore ?? 0) > Date.now() + 1_700_000, "half an hour");
      return true;
    });
  });
}

test("dyndns2: a wrong password is told by the service itself", async (t) => {
  const api = await startFakeDyndns2(t);
  const writing = dyndns2(api.url, "wrong").setAddresses(NAME, { ipv4: "5.6.7.8" }, noSignal());
  await assert.rejects(writing, (error) => isGatehouseError(error, "GATEHOUSE_DNS_REFUSED"));
});

test("DuckDNS: what it says that it has is compared with what it was told", async (t) => {
  const api = await startFakeDuckDns(t);
  const writer = createAddressWriter({ kind: "duckdns", token: "fake-token", domain: undefined, url: api.url });
  const both = { ipv4: "5.6.7.8", ipv6: "2a00:0:0::8" };
  assert.equal(await writer.setAddresses("myhome.duckdns.org", both, noSignal()), "shown");
  const [call = ""] = api.calls;
  assert.match(call, /ip=5\.6\.7\.8&ipv6=2a00%3A0%3A0%3A%3A8&verbose=true/);
  api.failWith(200, "OK\n5.6.7.8\n2a00::8\nNOCHANGE");
  await writer.setAddresses("myhome.duckdns.org", both, noSignal());
  for (const [status, body] of [
    [404, "Not Found"],
    [200, ""],
    [200, "<!doctype html>"],
  ] as const) {
    api.failWith(status, body);
    const writing = writer.setAddresses("myhome.duckdns.org", both, noSignal());
    await assert.rejects(writing, (error) => isGatehouseError(error, "GATEHOUSE_DNS_FAILED"), `${status} ${body}`);
  }
  api.failWith(200, "KO");
  const writing = writer.setAddresses("myhome.duckdns.org", both, noSignal());
  await assert.rejects(writing, (error) => isGatehouseError(error, "GATEHOUSE_DNS_REFUSED"));
  api.failWith(200, "OK\n9.9.9.9\n\nUPDATED");
  await assert.rejects(writer.setAddresses("myhome.duckdns.org", both, noSignal()), /says that it has 9\.9\.9\.9/);
});

test("Cloudflare: behind its proxy the zone shows other addresses, and that is said", async (t) => {
  const api = await startFakeCloudflare(t, [
    { id: "r1", name: "home.example.org", type: "A", content: "5.6.7.7", proxied: true },
  ]);
  const url = `${api.url}/client/v4`;
  const writer = createAddressWriter({ kind: "cloudflare", token: "fake-token", url });
  assert.equal(await writer.setAddresses("home.example.org", { ipv4: "5.6.7.8" }, noSignal()), "hidden");
  assert.deepEqual(api.records(), ["home.example.org A 5.6.7.8"]);
});

test(
  "what is written by RFC 2136 is what the zone's own server shows, also through an alias",
  { skip: needsBind },
  async (t) => {
    const bind = await startBind(t, {
      zone: "example.org",
      records: ["www IN CNAME home", "old IN AAAA 2a00:0:0:0::1"],
    });
    const server = { host: "127.0.0.1", port: bind.port };
    const writer = createAddressWriter({ kind: "rfc2136", server, zone: "example.org", key: bind.key });
    await writer.setAddresses("home.example.org", { ipv4: "5.6.7.8", ipv6: "2a00::8" }, noSignal());
    const zones = createZones({ resolvers: [server], nameServers: [server] });
    const shown = { server: "127.0.0.1", ipv4: ["5.6.7.8"], ipv6: ["2a00::8"] };
    assert.deepEqual(await shownAddresses(zones, "home.example.org", noSignal()), [shown]);
    assert.deepEqual(await shownAddresses(zones, "www.example.org", noSignal()), [shown]);
    const [old] = await shownAddresses(zones, "old.example.org", noSignal());
    assert.deepEqual(old, { server: "127.0.0.1", ipv4: [], ipv6: ["2a00::1"] });
  },
);

test("name servers that do not answer show nothing, and that is no error", { skip: needsBind }, async (t) => {
  const bind = await startBind(t, { zone: "example.org" });
  const resolvers = [{ host: "127.0.0.1", port: bind.port }];
  const zones = createZones({ resolvers, nameServers: [{ host: "127.0.0.1", port: 1 }] });
  assert.deepEqual(await shownAddresses(zones, "home.example.org", noSignal()), []);
});
