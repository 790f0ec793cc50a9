/**
 * What may stand in the log, and what happens when it cannot be written.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { openSync } from "node:fs";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { GatehouseError } from "../../src/core/errors.ts";
import { createLog } from "../../src/observe/log.ts";
import { keptLog } from "../support/log-lines.ts";

const SECRET = "s3cr3t-v4lue-0123456789";

const hiding: [what: string, fields: Record<string, unknown>][] = [
  ["a field", { authorization: `Bearer ${SECRET}` }],
  ["another case", { headers: { Authorization: `Basic ${SECRET}` } }],
  ["proxy credentials", { request: { headers: { "proxy-authorization": SECRET } } }],
  ["a cookie", { headers: { cookie: `session=${SECRET}` } }],
  ["what a target sets", { answer: { headers: { "set-cookie": [`session=${SECRET}`] } } }],
  ["a token, three levels down", { a: { b: { c: { token: SECRET } } } }],
  ["an external account", { acme: { eab: { kid: "k", key: SECRET } } }],
  ["an account key", { acme: { accountKey: SECRET } }],
  ["a password", { duckdns: { user: "anna", password: SECRET } }],
  ["camel and snake case", { one: { accessToken: SECRET }, two: { access_token: SECRET }, three: { apiKey: SECRET } }],
  ["a flat header list", { headers: ["Host", "a.example", "Cookie", SECRET] }],
  ["a list of objects", { targets: [{ name: "a", secret: SECRET }] }],
  ["a query string", { url: `https://www.duckdns.org/update?domains=a&token=${SECRET}&ip=` }],
  ["a signed path", { path: `/api/camera_proxy/x?authSig=${SECRET}` }],
  ["a password in a URL", { redis: `redis://anna:${SECRET}@127.0.0.1:6379/0` }],
  ["a credential inside a sentence", { note: `sent Bearer ${SECRET} to it` }],
  ["a private key", { pem: `-----BEGIN PRIVATE KEY-----\n${SECRET}\n-----END PRIVATE KEY-----` }],
  ["an error's message", { err: new Error(`GET /update?token=${SECRET} failed`) }],
  ["an error's own fields", { err: Object.assign(new Error("x"), { config: { headers: { token: SECRET } } }) }],
  ["an error's cause", { err: new Error("x", { cause: new Error(`?password=${SECRET}`) }) }],
  ["an error under another name", { reason: new Error(`?token=${SECRET}`) }],
  ["a map", { headers: new Map([["cookie", SECRET]]) }],
  ["bytes", { answer: Buffer.from(SECRET) }],
  ["an address object", { where: new URL(`https://ca.example/?token=${SECRET}`) }],
];

for (const [what, fields] of hiding) {
  test(`a secret in ${what} never reaches the log`, () => {
    const { log, text } = keptLog();
    log.info({ event: "test", ...fields }, "said");
    log.child({ event: "test", ...fields }).info("said by a child");
    assert.equal(text().split("\n").length, 3);
    assert.ok(!text().includes(SECRET), text());
    assert.ok(!text().includes(Buffer.from(SECRET).toString("base64")), text());
  });
}

test("a secret in the sentence itself never reaches the log", () => {
  const { log, text } = keptLog();
  log.warn(`asked /update?token=${SECRET}`);
  log.warn({ event: "x" }, "asked %s", `/update?token=${SECRET}`);
  log.warn(new Error(`/update?token=${SECRET}`));
  assert.ok(!text().includes(SECRET), text());
});

test("what is no secret stays: names, flags, key types, dates, numbers", () => {
  const { log, lines } = keptLog();
  const at = new Date(0);
  log.info({ event: "test", key: "p256", token: true, name: "a.example", at, n: 3, list: ["a", "b"] }, "said");
  const { key, token, name, n, list, at: logged } = lines()[0] ?? {};
  assert.deepEqual(
    { key, token, name, n, list, logged },
    {
      key: "p256",
      token: true,
      name: "a.example",
      n: 3,
      list: ["a", "b"],
      logged: at.toISOString(),
    },
  );
});

test("a line has level, time, event and sentence, and neither pid nor host name", () => {
  const { log, lines } = keptLog();
  log.info({ event: "edge.ready" }, "ready");
  assert.deepEqual(Object.keys(lines()[0] ?? {}), ["level", "time", "event", "msg"]);
});

test("an error is logged with its code, its hint and its causes", () => {
  const { log, lines } = keptLog();
  const error = new GatehouseError("GATEHOUSE_PORT_IN_USE", {
    message: "443 is taken",
    hint: "ask ss",
    cause: Object.assign(new Error("bind"), { code: "EADDRINUSE" }),
    detail: { port: 443 },
  });
  log.error({ event: "x", err: error }, "failed");
  const err = lines()[0]?.["err"] as Record<string, unknown>;
  assert.equal(err["code"], "GATEHOUSE_PORT_IN_USE");
  assert.equal(err["hint"], "ask ss");
  assert.deepEqual(err["detail"], { port: 443 });
  assert.equal((err["cause"] as Record<string, unknown>)["code"], "EADDRINUSE");
});

test("a field that is huge, deep, circular or throws costs the field and not the line", () => {
  const { log, lines, text } = keptLog();
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  const thrower = {
    get bad(): string {
      throw new Error("no");
    },
  };
  const wide = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`k${index}`, index]));
  log.info({ event: "x", long: "a".repeat(100_000), circle, thrower, wide, big: 10n }, "said");
  assert.equal(lines().length, 1);
  assert.ok(text().length < 10_000, `${text().length}`);
});

test("on a terminal a line is text, and what strangers sent cannot steer the terminal", () => {
  const { log, text } = keptLog({ pretty: true });
  log.warn({ event: "x", agent: "\u001b[2J\u009b1m\u202eevil" }, "seen \u001b]0;title\u0007");
  assert.match(text(), /seen/);
  assert.doesNotMatch(text().replace(/\u001b\[\d+m/g, ""), /[\u001b\u009b\u202e\u0007]/);
});

test("a destination that fails does not throw into the caller", async () => {
  const destination = new PassThrough();
  const log = createLog({ level: "info", pretty: false, destination });
  const closed = new Promise((resolve) => destination.once("close", resolve));
  destination.destroy(new Error("disk full"));
  await closed;
  log.info({ event: "x" }, "said into the void");
});

const LOG_MODULE = new URL("../../src/observe/log.ts", import.meta.url).href;

/** Writes many lines, then says on stderr that it goes on, then ends by itself. */
const WRITER = `
  import { createLog } from ${JSON.stringify(LOG_MODULE)};
  const log = createLog({ level: "info", pretty: "auto" });
  for (let i = 0; i < 20_000; i++) log.info({ event: "x", i, pad: "p".repeat(200) }, "line");
  log.info({ event: "last" }, "last");
  setTimeout(() => { process.stderr.write("alive"); if (process.argv[1] === "exit") process.exit(3); }, 50);
`;

const writer = (stdout: "pipe" | number, how = "natural") =>
  spawn(process.execPath, ["--input-type=module", "-e", WRITER, how], {
    stdio: ["ignore", stdout, "pipe"],
    timeout: 30_000,
    killSignal: "SIGKILL",
  });

test("every line arrives, in order, when the process ends by itself", async () => {
  const child = writer("pipe");
  let text = "";
  child.stdout?.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await once(child, "close");
  const lines = text.trimEnd().split("\n");
  assert.equal(lines.length, 20_001);
  assert.deepEqual((JSON.parse(lines.at(-1) ?? "") as { event: string }).event, "last");
  assert.deepEqual((JSON.parse(lines[7] ?? "") as { i: number }).i, 7);
});

test("the program goes on and ends when whoever reads the log is gone", async () => {
  for (const how of ["natural", "exit"]) {
    const child = writer("pipe", how);
    child.stdout?.once("data", () => child.stdout?.destroy());
    let said = "";
    child.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [code] = (await once(child, "close")) as [number | null];
    assert.equal(said, "alive");
    assert.equal(code, how === "exit" ? 3 : 0);
  }
});

test("the program goes on and ends when the disk is full", async () => {
  for (const how of ["natural", "exit"]) {
    const child = writer(openSync("/dev/full", "w"), how);
    let said = "";
    child.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [code] = (await once(child, "close")) as [number | null];
    assert.equal(said, "alive");
    assert.equal(code, how === "exit" ? 3 : 0);
  }
});
