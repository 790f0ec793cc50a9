import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { needs } from "../support/programs.ts";
import { needsLab, startLab, sweepLabs, type Lab } from "./lab.ts";
import { LAN, OUTSIDE, WAN, type HostName } from "./plan.ts";

const skip = needsLab();
const skipServices = needsLab({ services: true });
const skipUpnpc = skip || needs("upnpc", "miniupnpc");
const skipNatpmpc = skip || needs("natpmpc");

/** A server on `host` that tells each caller its address, as seen there. */
async function echoOn(lab: Lab, host: HostName, port: number): Promise<void> {
  const program = `require("net").createServer((s) => { s.on("error", () => {}); s.end(s.remoteAddress); }).listen(${port}, "::", () => console.log("ready"))`;
  await lab.start(host, process.execPath, ["-e", program], { ready: /ready/ });
}

/** The caller's address as the server saw it, or undefined when nothing answers within two seconds. */
async function ask(lab: Lab, from: HostName, address: string, port: number): Promise<string | undefined> {
  const program = `const s = require("net").connect({ host: "${address}", port: ${port} }); s.on("error", () => process.exit(1)); s.setTimeout(2000, () => process.exit(1)); s.on("data", (d) => process.stdout.write(d)); s.on("end", () => process.exit(0))`;
  const { code, stdout } = await lab.run(from, process.execPath, ["-e", program]);
  return code === 0 ? stdout.replace(/^::ffff:(?=[\d.]+$)/, "") : undefined;
}

const web = { protocol: "tcp", port: 443, to: LAN.edge, toPort: 8443 } as const;

test(
  "the home reaches the world behind the router's address, and the world the home only through a forward",
  { skip },
  async (t) => {
    const lab = await startLab(t);
    await echoOn(lab, "world", 80);
    await echoOn(lab, "edge", 8443);
    assert.equal(await ask(lab, "edge", OUTSIDE.world, 80), WAN.public.router);
    assert.equal(await ask(lab, "world", WAN.public.router, 443), undefined);
    await lab.router.forwardByHand([web]);
    assert.equal(await ask(lab, "world", WAN.public.router, 443), OUTSIDE.world);
  },
);

test("each switch of the lab does what it says, and undoes it", { skip }, async (t) => {
  const lab = await startLab(t);
  await echoOn(lab, "edge", 8443);
  await lab.router.forwardByHand([web]);
  const fromWorld = () => ask(lab, "world", lab.router.wanAddress(), 443);
  const fromClient = () => ask(lab, "client", lab.router.wanAddress(), 443);
  const fromEdge = () => ask(lab, "edge", lab.router.wanAddress(), 443);

  assert.equal(await fromClient(), undefined, "a loopback that was not asked for");
  await lab.router.setLoopback(true);
  assert.equal(await fromClient(), LAN.router);
  assert.equal(await fromEdge(), LAN.router);
  await lab.router.setLoopback(false);
  assert.equal(await fromClient(), undefined);

  await lab.blockPorts([443]);
  assert.equal(await fromWorld(), undefined);
  await lab.blockPorts([]);
  assert.equal(await fromWorld(), OUTSIDE.world);

  await lab.router.setWanAddress(WAN.public.next);
  assert.equal(lab.router.wanAddress(), WAN.public.next);
  assert.equal(await fromWorld(), OUTSIDE.world);
  assert.equal(await ask(lab, "world", WAN.public.router, 443), undefined);

  const ping = (): Promise<{ code: number | null }> =>
    lab.run("edge", process.execPath, [
      "-e",
      `require("net").connect(53, "${OUTSIDE.world6}").on("error", (e) => process.exit(e.code === "ECONNREFUSED" ? 0 : 1)).setTimeout(1500, () => process.exit(1))`,
    ]);
  assert.equal((await ping()).code, 0, "IPv6 is alive");
  await lab.setIpv6(false);
  assert.equal((await ping()).code, 1, "IPv6 is dead");

  await lab.setLoss(100);
  assert.equal(await fromWorld(), undefined);
});

test("behind a provider's NAT the router has a shared address and nothing comes in", { skip }, async (t) => {
  const lab = await startLab(t, { wan: "cgnat" });
  await echoOn(lab, "world", 80);
  await echoOn(lab, "edge", 8443);
  await lab.router.forwardByHand([web]);
  assert.equal(await ask(lab, "edge", OUTSIDE.world, 80), OUTSIDE.isp);
  assert.equal(await ask(lab, "world", WAN.cgnat.router, 443), undefined);
  assert.equal(await ask(lab, "world", OUTSIDE.isp, 443), undefined);
});

test(
  "the router answers miniupnpc and natpmpc, and forgets at a reboot",
  { skip: skipUpnpc || skipNatpmpc },
  async (t) => {
    const lab = await startLab(t);
    await echoOn(lab, "edge", 8443);
    const added = await lab.run("edge", "upnpc", ["-a", LAN.edge, "8443", "443", "TCP", "600"]);
    assert.match(added.stdout, /443 TCP is redirected/);
    const mapped = await lab.run("edge", "natpmpc", ["-g", LAN.router, "-a", "80", "8443", "tcp", "600"]);
    assert.match(mapped.stdout, /Mapped public port 80/);
    assert.equal(await ask(lab, "world", WAN.public.router, 443), OUTSIDE.world);
    assert.equal(await ask(lab, "world", WAN.public.router, 80), OUTSIDE.world);
    await lab.router.reboot();
    assert.equal(await ask(lab, "world", WAN.public.router, 443), undefined);
    const { stdout } = await lab.run("edge", "upnpc", ["-l"]);
    assert.doesNotMatch(stdout, /->192/);
  },
);

test(
  "DuckDNS takes an address, bind9 gives it to the world, the witnesses agree",
  { skip: skipServices || needs("curl") },
  async (t) => {
    const lab = await startLab(t, { services: true });
    const services = lab.services;
    assert.ok(services);
    const curl = async (url: string) => {
      const { stdout, stderr, code } = await lab.run("edge", "curl", ["-4sS", "--cacert", services.caFile, url]);
      assert.equal(code, 0, stderr);
      return stdout;
    };
    const update = "https://www.duckdns.org/update?token=7f1c62a4-2b1d-4b7e-9d0a-3f5e8c6b9a10";
    assert.equal(await curl(`${update}&domains=myhome&verbose=true`), `OK\n${WAN.public.router}\n\nUPDATED`);
    assert.equal(await curl(`${update}&domains=myhome&verbose=true`), `OK\n${WAN.public.router}\n\nNOCHANGE`);
    assert.equal(await curl(`${update}x&domains=myhome`), "KO");
    assert.equal(await curl(`${update}&domains=myhome&ip=1.2.3.4&ipv6=2a00::1`), "OK");
    assert.equal(await curl(`${update}&domains=myhome&txt=proof`), "OK");
    const dig = async (...asked: string[]) => (await lab.run("world", "dig", ["+short", ...asked])).stdout.trim();
    assert.equal(await dig("myhome.duckdns.org"), "1.2.3.4");
    assert.equal(await dig("myhome.duckdns.org", "AAAA"), "2a00::1");
    assert.equal(await dig("myhome.duckdns.org", "TXT"), '"proof"');
    assert.equal((await curl("https://ip-a.example.net/")).trim(), WAN.public.router);
    const { stdout } = await lab.run("edge", "dig", ["+short", `@${OUTSIDE.witness}`, "whoami.example.net", "TXT"]);
    assert.equal(stdout.trim(), `"${WAN.public.router}"`);
    assert.equal(services.duckCalls.length, 5);
    assert.doesNotMatch(JSON.stringify(services.duckCalls), /7f1c62a4/);
    services.setDuckFault("html");
    assert.match(await curl(`${update}&domains=myhome`), /^<!doctype html>/);
    if (services.acmeDirectory !== undefined) assert.match(await curl(services.acmeDirectory), /newOrder/);
  },
);

test("what a killed maker left behind is swept by the next one", { skip }, async (t) => {
  const here = new URL("./lab.ts", import.meta.url).href;
  const code = `import { startLab } from ${JSON.stringify(here)}; const lab = await startLab(undefined); console.log(lab.id);`;
  const maker = spawn(process.execPath, ["--input-type=module-typescript", "-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => maker.kill("SIGKILL"));
  const id = await new Promise<string>((resolve) => {
    maker.stdout.on("data", (chunk: Buffer) => resolve(chunk.toString().trim()));
  });
  const gone = new Promise((resolve) => maker.once("exit", resolve));
  maker.kill("SIGKILL");
  await gone;
  assert.ok(existsSync(`/run/netns/${id}-edge`));
  await sweepLabs();
  assert.deepEqual(
    readdirSync("/run/netns").filter((name) => name.startsWith(`${id}-`)),
    [],
  );
});
