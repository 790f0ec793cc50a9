/**
 * The doctor's looks at real servers: targets, certificates, clock, listeners, the way out and back in.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { createServer as createPlain, type RequestListener } from "node:http";
import { createServer as createTls } from "node:https";
import { createServer as createTcp, type AddressInfo, type Server } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { loadConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/model.ts";
import { NO_DDNS } from "../../src/network/ddns-report.ts";
import { askHttps } from "../../src/doctor/ask-ca.ts";
import { lookAtCertificates } from "../../src/doctor/certificates.ts";
import { lookAtClock } from "../../src/doctor/clock.ts";
import type { Note } from "../../src/doctor/finding.ts";
import { lookAtListening } from "../../src/doctor/listening.ts";
import type { Running } from "../../src/doctor/running.ts";
import { lookAtLoopback } from "../../src/doctor/loopback.ts";
import { lookAtTargets } from "../../src/doctor/targets.ts";
import { adminActions } from "../support/admin-actions.ts";
import { makeCa } from "../support/certificates.ts";
import { configText, temporaryFolder } from "../support/gatehouse.ts";

const NAME = "ha.example.org";
const DAY = 86_400_000;
const { signal } = new AbortController();

async function listening(t: TestContext, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

const plain = (t: TestContext, answer: RequestListener): Promise<number> => listening(t, createPlain(answer));

async function secure(t: TestContext, answer: RequestListener, days = 30): Promise<number> {
  const ca = await makeCa();
  const { keyPem, chainPem } = await ca.issue({ names: [NAME], days });
  return listening(t, createTls({ key: keyPem, cert: chainPem }, answer));
}

async function configOf(t: TestContext, rest: string): Promise<Config> {
  const folder = await temporaryFolder(t);
  const file = join(folder, "gatehouse.yaml");
  await writeFile(file, configText(folder, rest));
  return (await loadConfig(file, { env: {} })).config;
}

async function closedPort(): Promise<number> {
  const server = createTcp();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const ok: RequestListener = (_, answer) => answer.end("hello");

/** facts/home-assistant.md, steps 1 to 3. */
const homeAssistant: RequestListener = (request, answer) => {
  if (request.headers["x-forwarded-for"] === undefined) return void answer.end("<html>");
  answer.statusCode = 400;
  answer.end("400: Bad Request");
};

const targets: [what: string, site: (t: TestContext) => Promise<string>, code: string, next: RegExp | undefined][] = [
  ["answers", async (t) => `"127.0.0.1:${await plain(t, ok)}"`, "TARGET_ANSWERS ok", undefined],
  ["is the sample page", () => Promise.resolve("demo"), "TARGET_DEMO ok", undefined],
  [
    "is not there",
    async () => `"127.0.0.1:${await closedPort()}"`,
    "TARGET_REFUSES error",
    /Start the service at port \d+ of 127\.0\.0\.1/,
  ],
  ["has no socket", () => Promise.resolve('"unix:/nonexistent/app.sock"'), "TARGET_REFUSES error", /app\.sock/],
  [
    "speaks TLS, not plain HTTP",
    async (t) => `"127.0.0.1:${await secure(t, ok)}"`,
    "TARGET_SPEAKS_TLS error",
    /Write https:\/\/127\.0\.0\.1:\d+ /,
  ],
  [
    "speaks plain HTTP, not TLS",
    async (t) => `"https://127.0.0.1:${await plain(t, ok)}"`,
    "TARGET_SPEAKS_PLAIN error",
    /Write http:\/\/127\.0\.0\.1:\d+ /,
  ],
  [
    "has a certificate of its own",
    async (t) => `"https://127.0.0.1:${await secure(t, ok)}"`,
    "TARGET_CERTIFICATE_UNTRUSTED error",
    /verify: false/,
  ],
  [
    "has a certificate of its own, which is allowed",
    async (t) => `{ to: "https://127.0.0.1:${await secure(t, ok)}", upstreamTls: { verify: false } }`,
    "TARGET_ANSWERS ok",
    undefined,
  ],
  [
    "hangs up",
    async (t) =>
      `"127.0.0.1:${await listening(
        t,
        createTcp((socket) => socket.on("error", () => {}).destroy()),
      )}"`,
    "TARGET_NO_HTTP error",
    /one of its web page/,
  ],
  [
    "fails",
    async (t) => `"127.0.0.1:${await plain(t, (_, answer) => void answer.writeHead(503).end())}"`,
    "TARGET_FAILS warning",
    /own log/,
  ],
  [
    "is Home Assistant without trusted_proxies",
    async (t) => `"127.0.0.1:${await plain(t, homeAssistant)}"`,
    "HOME_ASSISTANT_UNTRUSTED error",
    /add 127\.0\.0\.1 to the trusted proxies/,
  ],
  [
    "is Home Assistant that is sent no headers",
    async (t) => `{ to: "127.0.0.1:${await plain(t, homeAssistant)}", forwardingHeaders: false }`,
    "TARGET_ANSWERS ok",
    undefined,
  ],
  [
    "answers 400 to everything",
    async (t) => `"127.0.0.1:${await plain(t, (_, answer) => void answer.writeHead(400).end())}"`,
    "TARGET_ANSWERS ok",
    undefined,
  ],
];

for (const [what, site, code, next] of targets) {
  test(`a target that ${what}: ${code}`, async (t) => {
    const { sites } = await configOf(t, `sites: { ${NAME}: ${await site(t)} }`);
    const { notes } = await lookAtTargets(sites, signal);
    assert.deepEqual(
      notes.map((one) => `${one.code} ${one.severity}`),
      [code],
      notes[0]?.seen,
    );
    if (next !== undefined) assert.match(notes[0]?.next ?? "", next);
    if (code.startsWith("HOME")) {
      const yaml = "http:\n  use_x_forwarded_for: true\n  trusted_proxies:\n    - 127.0.0.1\n";
      assert.deepEqual(notes[0]?.snippets, { "configuration.yaml": yaml });
    }
  });
}

interface Home {
  config: Config;
  running: Running;
}

async function served(t: TestContext, change: Partial<Running["certificates"][number]> = {}): Promise<Home> {
  const ca = await makeCa();
  const { keyPem, chainPem, notAfter } = await ca.issueBundle({ names: [NAME], days: 30 });
  const port = await listening(t, createTls({ key: keyPem, cert: chainPem }, ok));
  const [first] = await adminActions().certificates();
  assert.ok(first !== undefined);
  const running: Running = {
    listeners: [{ kind: "https", host: "127.0.0.1", port }],
    certificates: [{ ...first, notAfter, ...change }],
    router: (await adminActions().router()).report,
    ddns: NO_DDNS,
  };
  return { config: await configOf(t, `sites: { ${NAME}: demo }`), running };
}

const certificates: [what: string, change: Partial<Running["certificates"][number]>, code: string][] = [
  ["is the one that is kept", {}, "CERTIFICATE_WELL ok"],
  ["is an older one", { notAfter: Date.now() + 80 * DAY }, "CERTIFICATE_NOT_SERVED error"],
  ["could not be renewed", { lastError: "no answer on port 80" }, "CERTIFICATE_RENEWAL_FAILS warning"],
  ["is of a test CA", { issuer: "(STAGING) Wannabe Watercress R11" }, "CERTIFICATE_OF_TEST_CA warning"],
  ["has expired", { state: "expired", notAfter: Date.now() - DAY }, "CERTIFICATE_EXPIRED error"],
  ["was refused", { state: "refused", notAfter: undefined, lastError: "CAA" }, "CERTIFICATE_REFUSED error"],
  ["is on its way", { state: "pending", notAfter: undefined, lastError: undefined }, "CERTIFICATE_PENDING warning"],
];

for (const [what, change, code] of certificates) {
  test(`a certificate that ${what}: ${code}`, async (t) => {
    const { config, running } = await served(t, change);
    const notes = await lookAtCertificates(config.sites, running, signal);
    assert.deepEqual(
      notes.map((one) => `${one.code} ${one.severity}`),
      [code],
      notes[0]?.seen,
    );
  });
}

test("a port that only takes connections is no TLS, and without a running Gatehouse no certificate is judged", async (t) => {
  const { config, running } = await served(t);
  const port = await listening(
    t,
    createTcp((socket) => socket.on("error", () => {}).destroy()),
  );
  const deaf = { ...running, listeners: [{ kind: "https" as const, host: "127.0.0.1", port }] };
  assert.equal((await lookAtCertificates(config.sites, deaf, signal))[0]?.code, "TLS_FAILS");
  assert.equal((await lookAtCertificates(config.sites, undefined, signal))[0]?.severity, "unknown");
});

const clocks: [offBy: number, code: string][] = [
  [0, "CLOCK_RIGHT ok"],
  [120_000, "CLOCK_WRONG warning"],
  [-3_600_000, "CLOCK_WRONG error"],
];

for (const [offBy, code] of clocks) {
  test(`a CA whose clock is ${offBy / 1000} s from ours: ${code}`, async (t) => {
    const port = await secure(t, (_, answer) => {
      answer.setHeader("date", new Date(Date.now() + offBy).toUTCString());
      answer.end();
    });
    const { acme } = await configOf(t, `sites: { ${NAME}: demo }`);
    const config = { acme: { ...acme, directoryUrl: `https://127.0.0.1:${port}/dir` } } as unknown as Config;
    const [found] = await lookAtClock(config, [], () => askHttps(config.acme.directoryUrl ?? "", signal), signal);
    assert.equal(`${found?.code} ${found?.severity}`, code);
  });
}

test("a clock that can be compared with nothing is not judged", async (t) => {
  const config = await configOf(t, `sites: { ${NAME}: demo }`);
  const found = await lookAtClock(config, [], () => Promise.reject(new Error("none")), signal);
  assert.equal(found[0]?.severity, "unknown");
});

test("ports are tried: those of a running one by connecting, those of the file by opening and closing them", async (t) => {
  const config = await configOf(t, `sites: { ${NAME}: demo }`);
  const taken = await plain(t, ok);
  const at = (port: number): Config =>
    ({ listen: { https: [{ host: "127.0.0.1", port }], http: [] } }) as unknown as Config;
  const codes = (notes: readonly Note[]): string[] => notes.map(({ code }) => code);
  assert.deepEqual(codes(await lookAtListening(config, undefined, signal)), ["PORT_FREE", "PORT_FREE"]);
  assert.deepEqual(codes(await lookAtListening(at(taken), undefined, signal)), ["PORT_IN_USE"]);
  const free = await closedPort();
  assert.deepEqual(codes(await lookAtListening(at(free), undefined, signal)), ["PORT_FREE"]);
  assert.deepEqual(codes(await lookAtListening(at(free), undefined, signal)), ["PORT_FREE"], "it was closed again");
  const listeners = [taken, free].map((port) => ({ kind: "https" as const, host: "127.0.0.1", port }));
  assert.deepEqual(codes(await lookAtListening(config, listeners, signal)), ["LISTENER_ANSWERS", "LISTENER_SILENT"]);
});

// An address of this machine's own loopback network where nothing of ours listens on 443 stands for the public one.
const OUTSIDE = "127.99.99.9";

test("no way back in is missing loopback only where the router has 443 mapped on that very address", async (t) => {
  const { config, running } = await served(t);
  const home = {
    address: "127.0.0.1",
    interface: "lo",
    ownAddress: "192.168.0.50",
    ownMac: undefined,
    ipv6: undefined,
  };
  const seen = {
    ipv4: OUTSIDE,
    from: "router",
    nat: "none",
    routerAddress: OUTSIDE,
    answers: [],
    ipv6: undefined,
  } as const;
  const look = async (router: Partial<Running["router"]>) => {
    const changed = { ...running, router: { ...running.router, ...router } };
    const [found] = await lookAtLoopback({ sites: config.sites, home, seen, running: changed, signal });
    return found;
  };
  const missing = await look({ externalAddress: OUTSIDE });
  assert.equal(`${missing?.code} ${missing?.severity}`, "LOOPBACK_MISSING warning", missing?.seen);
  assert.equal(missing?.snippets?.["hosts file"], `192.168.0.50 ${NAME}\n`);
  const either = await look({ externalAddress: "9.9.9.9" });
  assert.equal(`${either?.code} ${either?.severity}`, "LOOPBACK_OR_CLOSED unknown");
  const [untried] = await lookAtLoopback({ sites: config.sites, home, seen: undefined, running, signal });
  assert.equal(untried?.code, "LOOPBACK_NOT_TRIED");
});
