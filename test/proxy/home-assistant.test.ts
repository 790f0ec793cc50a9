/**
 * What our log says to the owner of a Home Assistant that does not trust us.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { eventually } from "../support/eventually.ts";
import { decide, type HttpSettings } from "../support/home-assistant.ts";
import { proxyConfig, type RunningLane, siteConfig, startLane, targetConfig } from "../support/proxy-lane.ts";
import { ask } from "../support/raw-client.ts";
import { startTarget } from "../support/target.ts";

interface Scene extends RunningLane {
  asked(): number;
  told(): Record<string, unknown>[];
  settled(): Promise<void>;
}

async function scene(
  t: TestContext,
  home: HttpSettings,
  options: { forwardingHeaders?: boolean; always400?: boolean } = {},
): Promise<Scene> {
  const state = { asked: 0 };
  const target = await startTarget(t, (req, res) => {
    state.asked++;
    if (options.always400 !== true && typeof decide(req, home) === "object") res.end("Home Assistant");
    else res.writeHead(400, { "content-type": "text/plain; charset=utf-8" }).end("400: Bad Request");
  });
  const site = siteConfig("ha.test", targetConfig(target.port), {
    forwardingHeaders: options.forwardingHeaders ?? true,
  });
  const lane = await startLane(t, proxyConfig([site]));
  const told = () => lane.recorded.lines.filter(({ event }) => event === "upstream.home_assistant_untrusted");
  return Object.assign(lane, {
    asked: () => state.asked,
    told,
    // The probe dials for itself: it is over when nothing but the kept connection is open.
    settled: () => eventually("quiet", () => lane.upstream.openSockets() <= 1),
  });
}

const HA = "GET / HTTP/1.1\r\nHost: ha.test";

test("an untrusted proxy is named once, with the address that Home Assistant sees and what to write where", async (t) => {
  const house = await scene(t, { use_x_forwarded_for: false, trusted_proxies: [] });
  for (let at = 0; at < 3; at++) {
    assert.equal((await ask(t, house.port, HA)).status, 400);
    await eventually("told", () => house.told().length > 0);
  }
  assert.equal(house.told().length, 1);
  const [line] = house.told();
  assert.equal(line?.["site"], "ha.test");
  assert.deepEqual(line?.["trusted_proxies"], ["127.0.0.1"]);
  assert.match(
    String(line?.["hint"]),
    /Settings > System > Network[^]*http:\n {2}use_x_forwarded_for: true\n {2}trusted_proxies:\n {4}- 127\.0\.0\.1/,
  );
});

test("use_x_forwarded_for alone is not enough: the address is named all the same", async (t) => {
  const house = await scene(t, { use_x_forwarded_for: true, trusted_proxies: ["192.0.2.1"] });
  await ask(t, house.port, HA);
  await eventually("told", () => house.told().length > 0);
});

test("a Home Assistant that trusts us is served and nothing is said", async (t) => {
  const house = await scene(t, { use_x_forwarded_for: true, trusted_proxies: ["127.0.0.1"] });
  const answer = await ask(t, house.port, `${HA}\r\nX-Forwarded-For: junk, 1.2.3.4:5`);
  assert.equal(answer.body, "Home Assistant");
  assert.equal(house.asked(), 1);
});

test("a target that says 400 for reasons of its own is asked twice more and no conclusion is drawn", async (t) => {
  const house = await scene(t, { use_x_forwarded_for: true, trusted_proxies: [] }, { always400: true });
  for (let at = 0; at < 5; at++) await ask(t, house.port, HA);
  await eventually("probed", () => house.asked() === 7);
  await house.settled();
  assert.equal(house.asked(), 7);
  assert.deepEqual(house.told(), []);
});

test("without forwarding headers nothing is asked", async (t) => {
  const house = await scene(t, { use_x_forwarded_for: false, trusted_proxies: [] }, { forwardingHeaders: false });
  assert.equal((await ask(t, house.port, HA)).body, "Home Assistant");
  assert.equal(house.asked(), 1);
});

test("a 400 of ours is not blamed on Home Assistant", async (t) => {
  const house = await scene(t, { use_x_forwarded_for: false, trusted_proxies: [] });
  await ask(t, house.port, "GET /\\ HTTP/1.1\r\nHost: ha.test");
  await house.settled();
  assert.equal(house.asked(), 0);
});
