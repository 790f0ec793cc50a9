/**
 * The first hour of a home, in the lab: from nothing to a page and a WebSocket that the world opens through the router, then
 * what happens to every home: another address, a router that forgets, a Home Assistant that was not told of its proxy.
 */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Lab, needsLab, startLab } from "../lab/lab.ts";
import { LAN, OUTSIDE, WAN } from "../lab/plan.ts";
import type { LabProgram } from "../lab/programs.ts";
import { DUCK } from "../lab/services.ts";
import type { Seen } from "../lab/visitor.ts";
import type { HttpSettings, Visit } from "../support/home-assistant.ts";
import type { LogLine } from "../support/gatehouse.ts";
import { needs } from "../support/programs.ts";

const skip = needsLab({ services: true }) || needs("pebble") || needs("curl");
const MAIN = join(import.meta.dirname, "../../src/cli/main.ts");
const HOME_ASSISTANT = new URL("../lab/home-assistant.ts", import.meta.url).pathname;
const VISITOR = new URL("../lab/visitor.ts", import.meta.url).pathname;
const [DOMAIN] = DUCK.domains;
const NAME = `${DOMAIN}.duckdns.org`;
const WITNESSES = `https://ip-a.example.net/,https://ip-b.example.net/,dns://${OUTSIDE.witness}/whoami-a.example.net`;
/** What the issue promises is 60 s from init; a machine that does ten other things is given more before it fails. */
const OPEN_WITHIN_MS = 120_000;

interface Home {
  lab: Lab;
  /** When init was called, by performance.now(). */
  begunAt: number;
  gatehouse: LabProgram;
  /** Lines of its log with this event. */
  events(event: string): LogLine[];
  /** Somebody outside opens the page until it answers with this status, then the WebSocket. */
  visit(status?: number): Promise<Seen>;
  /** Home Assistant's own HTTP settings, from now on. */
  tell(settings: HttpSettings): Promise<void>;
  homeAssistantLog(): string;
  /** A line of shell, where GATEHOUSE_CONFIG names the file. */
  shell(folder: string, line: string): Promise<{ code: number | null; stdout: string; stderr: string }>;
  cli(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }>;
}

/** Everything that a person does: a token in a file, `init`, `run`. */
async function firstHour(t: TestContext): Promise<Home> {
  const lab = await startLab(t, { services: true });
  const { services } = lab;
  assert.ok(services?.acmeDirectory !== undefined);
  const inside = await lab.start("target", process.execPath, [HOME_ASSISTANT], {
    ready: /ready/,
    talk: true,
  });
  const taken = new Set<() => void>();
  inside.hear(() => {
    for (const one of taken) one();
    taken.clear();
  });
  const tell: Home["tell"] = (settings) =>
    new Promise((resolve) => {
      taken.add(resolve);
      inside.say(settings);
    });
  await tell({ use_x_forwarded_for: true, trusted_proxies: [LAN.edge] });
  // Some fifteen times the same program: what was compiled is kept for the next one.
  const cache = { NODE_COMPILE_CACHE: join(lab.folder, "compiled") };
  const env = { ...process.env, ...cache, NODE_EXTRA_CA_CERTS: services.caFile, NO_COLOR: "1" };
  const file = join(lab.folder, "home", "gatehouse.yaml");
  const tokenFile = join(lab.folder, "token");
  await writeFile(tokenFile, `${DUCK.token}\n`, { mode: 0o600 });
  const program = ["--disable-warning=DEP0060", MAIN];
  const cli: Home["cli"] = (...args) =>
    lab.run("edge", process.execPath, [...program, ...args, "--config", file], { env, withinMs: 90_000 });

  const facts = ["--name", DOMAIN, "--duckdns-token-file", tokenFile, "--target", `${LAN.target}:8123`];
  const begunAt = performance.now();
  const init = await cli("init", ...facts, "--ca", services.acmeDirectory, "--witness", WITNESSES);
  assert.equal(init.code, 0, init.stderr);
  const gatehouse = await lab.start("edge", process.execPath, [...program, "run", "--config", file], {
    ready: /"edge\.ready"/,
    env,
  });
  const roots = await lab.run("services", "curl", ["-sk", `https://${OUTSIDE.services}:15000/roots/0`]);
  const rootFile = join(lab.folder, "pebble-root.pem");
  await writeFile(rootFile, roots.stdout);
  return {
    lab,
    begunAt,
    gatehouse,
    tell,
    cli,
    shell: (folder, line) =>
      lab.run("edge", "sh", ["-ec", `cd ${folder}; ${line}`], {
        env: { ...env, GATEHOUSE_CONFIG: file },
        withinMs: 90_000,
      }),
    homeAssistantLog: () => inside.log(),
    events: (event) =>
      gatehouse
        .log()
        .split("\n")
        .filter((line) => line.startsWith("{") && line.endsWith("}"))
        .map((line) => JSON.parse(line) as LogLine)
        .filter((line) => line.event === event),
    async visit(status = 200) {
      const args = [VISITOR, NAME, String(OPEN_WITHIN_MS), String(status)];
      const worldEnv = { ...process.env, NODE_EXTRA_CA_CERTS: rootFile };
      const { code, stdout, stderr } = await lab.run("world", process.execPath, args, {
        env: worldEnv,
        withinMs: OPEN_WITHIN_MS + 30_000,
      });
      assert.equal(code, 0, `${stderr}\n${gatehouse.log().slice(-4_000)}`);
      return JSON.parse(stdout) as Seen;
    },
  };
}

/** What a reader of a page of docs/ types: lines of its shell blocks that call Gatehouse. */
async function commandsOf(page: string): Promise<string[]> {
  const text = await readFile(join(import.meta.dirname, "../../docs", page), "utf8");
  return [...text.matchAll(/^```sh\n([^]*?)^```$/gm)]
    .flatMap(([, block = ""]) => block.split("\n"))
    .filter((line) => line.startsWith("bin/gatehouse "));
}

test("from an empty state, init and run open a home to the world, and keep it open", { skip }, async (t) => {
  const home = await firstHour(t);
  const { lab } = home;
  const worldGets = async (): Promise<string> =>
    (await lab.run("world", "dig", ["+short", "+tries=1", "+time=5", NAME, "A"])).stdout.trim();
  const orders = (): number => lab.services?.logs().match(/POST \/order-plz/g)?.length ?? 0;

  await t.test("the world opens the page and its WebSocket, and Home Assistant sees who comes", async (step) => {
    const seen = await home.visit();
    step.diagnostic(
      `open ${Math.round(performance.now() - home.begunAt)} ms after init began, ${seen.pageAfterMs} after run`,
    );
    const visit = JSON.parse(seen.body) as Visit;
    assert.deepEqual(visit, { remote: OUTSIDE.world, scheme: "https", host: NAME });
    assert.match(seen.words[0] ?? "", /auth_required/);
    assert.deepEqual(JSON.parse(seen.words[1] ?? ""), { id: 7, type: "pong" });
    assert.equal(home.events("certificate.issued").length, 1);
    assert.equal(home.events("upstream.home_assistant_untrusted").length, 0);
    assert.equal(orders(), 1, "the CA was asked once, when it could find the home");
  });

  await t.test("another WAN address: DNS follows, the ports stay open, no certificate is ordered", async () => {
    const before = orders();
    await lab.router.setWanAddress(WAN.public.next);
    await home.gatehouse.wrote(new RegExp(`"event":"ddns\\.right"[^\n]*"${WAN.public.next}"`), 120_000);
    assert.equal(await worldGets(), WAN.public.next);
    await home.visit();
    assert.equal(home.events("certificate.issued").length, 1);
    assert.equal(orders(), before, "no order reached the CA");
  });

  await t.test("the router restarts and forgets: the ports are led here again", async () => {
    // Nothing that was open before survives this, so whoever comes in came by a new mapping.
    await lab.router.reboot();
    await home.visit();
    assert.equal(home.events("certificate.issued").length, 1);
  });

  await t.test(
    "a Home Assistant that was not told of its proxy: log and doctor name the entry, which helps",
    async () => {
      await home.tell({ use_x_forwarded_for: false, trusted_proxies: [] });
      const refused = await home.visit(400);
      assert.equal(refused.body, "400: Bad Request");
      assert.match(home.homeAssistantLog(), /received from 192\.168\.77\.10, but your HTTP integration is not set-up/);
      await home.gatehouse.wrote(/"event":"upstream\.home_assistant_untrusted"/, 30_000);
      const [line] = home.events("upstream.home_assistant_untrusted");
      const advice = line?.["trusted_proxies"] as string[];
      assert.deepEqual([line?.["site"], advice], [NAME, [LAN.edge]]);

      // Half of the advice is not enough, and is answered in the same way.
      await home.tell({ use_x_forwarded_for: true, trusted_proxies: ["172.30.33.0/24"] });
      const { code, stdout } = await home.cli("doctor", NAME, "--json");
      assert.equal(code, 1);
      const { summary, findings } = JSON.parse(stdout) as {
        summary: string;
        findings: { code: string; snippets: Record<string, string> | null }[];
      };
      assert.match(summary, /Settings > System > Network > HTTP server: .*add 192\.168\.77\.10 to the trusted proxies/);
      const found = findings.find((one) => one.code === "HOME_ASSISTANT_UNTRUSTED");
      const yaml = "http:\n  use_x_forwarded_for: true\n  trusted_proxies:\n    - 192.168.77.10\n";
      assert.deepEqual(found?.snippets, { "configuration.yaml": yaml });
      assert.match(home.homeAssistantLog(), /X-Forwarded-For header from an untrusted proxy 192\.168\.77\.10/);

      await home.tell({ use_x_forwarded_for: true, trusted_proxies: advice });
      const visit = JSON.parse((await home.visit()).body) as Visit;
      assert.equal(visit.remote, OUTSIDE.world);
      assert.equal(home.events("upstream.home_assistant_untrusted").length, 1, "said once");
    },
  );

  await t.test("every command of the page about the first hour runs as it is written there", async () => {
    const [english, korean] = await Promise.all(["", ".ko"].map((language) => commandsOf(`first-hour${language}.md`)));
    assert.deepEqual(korean, english, "both languages have the same commands");
    const [begin, ...others] = english ?? [];
    assert.equal(begin, "bin/gatehouse init --name myhome --duckdns-token-file ~/.duckdns --target 192.168.0.200:8123");
    const folder = join(lab.folder, "checkout");
    await mkdir(join(folder, "bin"), { recursive: true });
    const launcher = `#!/bin/sh\nexec ${process.execPath} --disable-warning=DEP0060 ${MAIN} "$@"\n`;
    await writeFile(join(folder, "bin/gatehouse"), launcher, { mode: 0o755 });
    for (const command of others.filter((one) => !one.endsWith(" run"))) {
      const { code, stdout, stderr } = await home.shell(folder, command);
      // In this lab's router there is no loopback, and the doctor says so.
      const wanted = command.endsWith(" doctor") ? 1 : 0;
      assert.equal(code, wanted, `${command}\n${stdout}${stderr}`);
    }
  });
  assert.doesNotMatch(home.gatehouse.log(), new RegExp(DUCK.token));
});
