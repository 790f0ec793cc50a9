/**
 * The plain port: challenges before everything, then the way to HTTPS, and no word of a stranger repeated.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import { eventually } from "../support/eventually.ts";
import { type FrontHome, startFront, type FrontHomeOptions } from "../support/front-home.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { freePort } from "../support/target.ts";

const TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
const AUTHORIZATION = `${TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`;

interface Home extends FrontHome {
  asked: [string, string][];
}

async function plainHome(t: TestContext, options: FrontHomeOptions = {}): Promise<Home> {
  const to = targetConfig(await freePort());
  const asked: [string, string][] = [];
  const home = await startFront(t, [siteConfig("a.test", to), siteConfig("*.lab.test", to)], {
    answerChallenge(host, token) {
      asked.push([host, token]);
      return Promise.resolve(token === TOKEN ? AUTHORIZATION : undefined);
    },
    ...options,
  });
  return { ...home, asked };
}

/** Everything that comes until the other side closes; `Connection: close` is the request's business. */
async function say(home: FrontHome, bytes: string): Promise<string> {
  const socket = connect(home.httpPort, "127.0.0.1");
  socket.on("error", () => {});
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.write(bytes, "latin1");
  await new Promise((resolve) => socket.once("close", resolve));
  return text;
}

const get = (target: string, host: string, method = "GET"): string =>
  `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;

test("a challenge is answered for any host, in any site's state, to GET and HEAD alone", async (t) => {
  const home = await plainHome(t);
  const path = `/.well-known/acme-challenge/${TOKEN}`;
  for (const host of ["a.test", "A.TEST.:80", "unknown.test", "192.0.2.1", "not a host", ""]) {
    const text = await say(home, get(path, host));
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/, host);
    assert.ok(text.endsWith(`\r\n\r\n${AUTHORIZATION}`));
  }
  assert.deepEqual(home.asked.slice(0, 3), [
    ["a.test", TOKEN],
    ["a.test", TOKEN],
    ["unknown.test", TOKEN],
  ]);
  assert.ok((await say(home, get(`${path}?x=1`, "a.test"))).endsWith(AUTHORIZATION));
  assert.ok((await say(home, get(`http://a.test${path}`, "a.test"))).endsWith(AUTHORIZATION));
  assert.match(
    await say(home, get(path, "a.test", "HEAD")),
    /^HTTP\/1\.1 200 OK\r\n[^]*content-length: 87\r\n[^]*\r\n\r\n$/i,
  );
  assert.match(await say(home, get(path, "a.test", "POST")), /^HTTP\/1\.1 405 [^]*allow: GET, HEAD\r\n/i);
});

test("what is no token is 404 and never asked for (S33)", async (t) => {
  const home = await plainHome(t);
  for (const token of [
    "",
    "../../etc/passwd",
    "%2e%2e%2fx",
    "a/b",
    "a.b",
    "x".repeat(129),
    "a%00b",
    "a\\b",
    `${TOKEN}/`,
  ]) {
    assert.match(await say(home, get(`/.well-known/acme-challenge/${token}`, "a.test")), /^HTTP\/1\.1 404 /, token);
  }
  assert.deepEqual(home.asked, []);
  assert.match(await say(home, get("/.well-known/acme-challenge/unknown", "a.test")), /^HTTP\/1\.1 404 /);
  assert.equal(home.asked.length, 1);
});

test("storage that fails is a 404 and a line in the log", async (t) => {
  const home = await plainHome(t, { answerChallenge: () => Promise.reject(new Error("disk gone")) });
  assert.match(await say(home, get(`/.well-known/acme-challenge/${TOKEN}`, "a.test")), /^HTTP\/1\.1 404 /);
  assert.ok(home.recorded.lines.some(({ event }) => event === "acme.challenge_failed"));
});

test("known names go to HTTPS with 308, path and query kept; a Host with a port gets the port of ours", async (t) => {
  const home = await plainHome(t);
  const port = `:${home.httpsPort}`;
  for (const [target, host, location] of [
    ["/", "a.test", "https://a.test/"],
    ["/a/b?c=d&e=%20f", `A.Test.:${home.httpPort}`, `https://a.test${port}/a/b?c=d&e=%20f`],
    ["//evil.test/x", "a.test", "https://a.test//evil.test/x"],
    ["http://a.test/abs", "a.test", "https://a.test/abs"],
    ["/", `x.lab.test:${home.httpPort}`, `https://x.lab.test${port}/`],
  ] as const) {
    const text = await say(home, get(target, host));
    assert.match(text, /^HTTP\/1\.1 308 Permanent Redirect\r\n/);
    assert.ok(text.includes(`\r\nlocation: ${location}\r\n`), text);
  }
  assert.match(await say(home, get("/x", "a.test", "HEAD")), /^HTTP\/1\.1 308 [^]*\r\n\r\n$/);
  await eventually("they are in the log", () => home.recorded.access.length === 6);
  const [record] = home.recorded.access;
  assert.deepEqual([record?.site, record?.status, record?.scheme], ["a.test", 308, "http"]);
  const public443 = await plainHome(t, { publicHttpsPort: 443 });
  assert.match(await say(public443, get("/", "a.test:8080")), /\r\nlocation: https:\/\/a\.test\/\r\n/);
});

test("other names and broken requests get no redirect and hear nothing of the house", async (t) => {
  const home = await plainHome(t);
  for (const [request, status] of [
    [get("/", "unknown.test"), 404],
    [get("/", "lab.test"), 404],
    [get("/", "a.test@evil.test"), 400],
    [get("/", "a.test/../evil"), 400],
    ["GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a.test\r\nHost: evil.test\r\nConnection: close\r\n\r\n", 400],
    ["GET http://evil.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", 400],
    ["GET /\u0001 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n b\r\nConnection: close\r\n\r\n", 400],
    ["CONNECT evil.test:25 HTTP/1.1\r\nHost: evil.test\r\n\r\n", 405],
    ["TRACE / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", 405],
    ["\u0016\u0003\u0001", 400],
    [`GET /${"x".repeat(9_000)} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`, 414],
  ] as const) {
    const text = await say(home, request);
    assert.ok(text.startsWith(`HTTP/1.1 ${status} `), `${status} for ${request.slice(0, 60)}: ${text.slice(0, 60)}`);
    assert.doesNotMatch(text, /location:|evil\.test|lab\.test|127\.0\.0\.1/i);
  }
  assert.equal(home.upstream.openSockets(), 0);
});

test("a body ends the connection instead of being read as a request (T03, T04); an upgrade is an ordinary request", async (t) => {
  const home = await plainHome(t);
  const smuggled = "GET /SMUG HTTP/1.1\r\nHost: a.test\r\n\r\n";
  const text = await say(
    home,
    `POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
  );
  assert.equal(text.split("HTTP/1.1 ").length, 2);
  assert.doesNotMatch(text, /SMUG/);
  const upgrade =
    "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
  assert.match(await say(home, upgrade), /^HTTP\/1\.1 308 /);
  const expecting = "GET / HTTP/1.1\r\nHost: a.test\r\nExpect: 200-maybe\r\nConnection: close\r\n\r\n";
  assert.match(await say(home, expecting), /^HTTP\/1\.1 417 /);
  await eventually("all is closed", () => home.front.openConnections() === 0);
});
