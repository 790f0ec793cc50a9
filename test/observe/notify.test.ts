/**
 * Alerts on their way: what a webhook and a mail server really get, how often, and what the log never shows.
 */
import assert from "node:assert/strict";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { test, type TestContext } from "node:test";
import { createNotifier, type NotifyMemory, type NotifySettings } from "../../src/observe/notify.ts";
import { memoryLog } from "../support/acme-home.ts";
import { startSmtp } from "../support/smtp-server.ts";

/** Asserts until it holds. */
async function eventually(holds: () => void, withinMs = 10_000): Promise<void> {
  const until = performance.now() + withinMs;
  for (;;) {
    try {
      holds();
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

interface Got {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** @param statuses  of the first answers; 200 afterwards */
async function startHook(t: TestContext, statuses: number[] = []) {
  const got: Got[] = [];
  const server = createServer((req, res) => {
    let body = "";
    req.on("data", (chunk: Buffer) => (body += chunk.toString()));
    req.on("end", () => {
      got.push({ path: req.url ?? "", headers: req.headers, body });
      res.writeHead(statuses.shift() ?? 200, { location: "http://127.0.0.1:1/" }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { got, url: (path = "/secret-path") => `http://127.0.0.1:${port}${path}` };
}

function aNotifier(t: TestContext, settings: Partial<NotifySettings>, memory?: NotifyMemory) {
  const { log, lines } = memoryLog();
  const time = { now: Date.UTC(2026, 0, 1) };
  const notifier = createNotifier({ log, clock: { now: () => time.now }, pausesMs: [1, 1, 1] });
  notifier.apply({ repeatMs: 86_400_000, webhooks: [], mail: undefined, ...settings });
  t.after(() => notifier.stop());
  return { notifier, lines, time, memory };
}

const ALERT = {
  key: "certificate:home.example.org",
  severity: "warning",
  title: "home.example.org: 3 failed orders in a row",
  message: "The CA could not reach this home.",
  nextStep: "Check that the router forwards TCP ports 80 and 443 to this machine.",
} as const;

const shapes: { format: "json" | "ntfy" | "slack"; check: (got: Got) => void }[] = [
  {
    format: "json",
    check({ headers, body }) {
      assert.equal(headers["content-type"], "application/json");
      assert.deepEqual(JSON.parse(body), { source: "gatehouse", ...ALERT, at: "2026-01-01T00:00:00.000Z" });
    },
  },
  {
    format: "ntfy",
    check({ headers, body }) {
      assert.equal(headers["title"], ALERT.title);
      assert.equal(headers["priority"], "4");
      assert.equal(body, `${ALERT.message}\n\nWhat to do: ${ALERT.nextStep}`);
    },
  },
  {
    format: "slack",
    check({ body }) {
      const { text } = JSON.parse(body) as { text: string };
      assert.equal(text, `*${ALERT.title}*\n${ALERT.message}\n\nWhat to do: ${ALERT.nextStep}`);
    },
  },
];

for (const { format, check } of shapes) {
  test(`a ${format} webhook gets what happened and what to do, with its token`, async (t) => {
    const hook = await startHook(t);
    const { notifier, lines } = aNotifier(t, { webhooks: [{ url: hook.url(), format, token: "tok-123" }] });
    notifier.raise(ALERT);
    await eventually(() => assert.equal(hook.got.length, 1));
    const [got] = hook.got;
    assert.ok(got);
    assert.equal(got.path, "/secret-path");
    assert.equal(got.headers.authorization, "Bearer tok-123");
    check(got);
    await eventually(() => assert.ok(lines.some(({ event }) => event === "notify.sent")));
    assert.doesNotMatch(JSON.stringify(lines), /secret-path|tok-123/);
  });
}

test("a title that is not Latin-1 reaches ntfy as an encoded word", async (t) => {
  const hook = await startHook(t);
  const { notifier } = aNotifier(t, { webhooks: [{ url: hook.url(), format: "ntfy", token: undefined }] });
  notifier.raise({ ...ALERT, title: "집: 인증서" });
  await eventually(() => assert.equal(hook.got.length, 1));
  const [, word = ""] = /^=\?UTF-8\?B\?(.+)\?=$/.exec(String(hook.got[0]?.headers["title"])) ?? [];
  assert.equal(Buffer.from(word, "base64").toString(), "집: 인증서");
});

test("the same thing is told once a day, at once when it gets worse, and once when it is over", async (t) => {
  const hook = await startHook(t);
  const { notifier, time } = aNotifier(t, { webhooks: [{ url: hook.url(), format: "json", token: undefined }] });
  const severities = () => hook.got.map(({ body }) => (JSON.parse(body) as { severity: string }).severity);
  for (let i = 0; i < 10; i++) notifier.raise(ALERT);
  await eventually(() => assert.deepEqual(severities(), ["warning"]));
  notifier.raise({ ...ALERT, severity: "critical" });
  notifier.raise(ALERT);
  await eventually(() => assert.deepEqual(severities(), ["warning", "critical"]));
  time.now += 86_400_001;
  notifier.raise(ALERT);
  await eventually(() => assert.equal(hook.got.length, 3));
  notifier.settle(ALERT.key, "All is well again.");
  notifier.settle(ALERT.key, "All is well again.");
  notifier.settle("certificate:never.example.org", "Nothing was told.");
  await eventually(() => assert.deepEqual(severities().slice(3), ["info"]));
  assert.match(hook.got[3]?.body ?? "", /"title":"Over: home\.example\.org: 3 failed/);
});

test("what was told before a restart is not told again after it", async (t) => {
  const hook = await startHook(t);
  let kept: string | undefined;
  const memory = {
    load: () => Promise.resolve(kept === undefined ? undefined : Buffer.from(kept)),
    save: async (text: string) => void (kept = text),
  };
  const settings = { webhooks: [{ url: hook.url(), format: "json" as const, token: undefined }] };
  for (let restart = 0; restart < 5; restart++) {
    const { notifier, lines } = aNotifier(t, settings);
    await notifier.remember(memory);
    notifier.raise(ALERT);
    if (restart === 0) await eventually(() => assert.ok(lines.some(({ event }) => event === "notify.sent")));
    await eventually(() => assert.ok(kept?.includes(ALERT.key)));
    notifier.stop();
  }
  assert.equal(hook.got.length, 1);
  kept = "{ not JSON";
  const { notifier } = aNotifier(t, settings);
  await notifier.remember(memory);
  notifier.raise(ALERT);
  await eventually(() => assert.equal(hook.got.length, 2, "a damaged memory costs one message"));
});

const answers: { statuses: number[]; asked: number; event: string }[] = [
  { statuses: [503, 429, 408], asked: 4, event: "notify.sent" },
  { statuses: [500, 500, 500, 500, 500], asked: 4, event: "notify.failed" },
  { statuses: [404], asked: 1, event: "notify.failed" },
  { statuses: [302], asked: 1, event: "notify.failed" },
];

for (const { statuses, asked, event } of answers) {
  test(`answers ${statuses.join(", ")} lead to ${asked} request(s) and ${event}`, async (t) => {
    const hook = await startHook(t, [...statuses]);
    const { notifier, lines } = aNotifier(t, { webhooks: [{ url: hook.url(), format: "json", token: undefined }] });
    notifier.raise(ALERT);
    await eventually(() => assert.ok(lines.some((line) => line.event === event)));
    assert.equal(hook.got.length, asked);
    assert.doesNotMatch(JSON.stringify(lines), /secret-path/);
  });
}

test("a hundred troubles at once are thirty messages in an hour", async (t) => {
  const hook = await startHook(t);
  const { notifier, time } = aNotifier(t, { webhooks: [{ url: hook.url(), format: "json", token: undefined }] });
  const raiseAll = () => {
    for (let i = 0; i < 100; i++) notifier.raise({ ...ALERT, key: `certificate:n${i}.example.org` });
  };
  raiseAll();
  raiseAll();
  await eventually(() => assert.equal(hook.got.length, 30));
  time.now += 3_600_001;
  raiseAll();
  await eventually(() => assert.equal(hook.got.length, 60));
  assert.equal(new Set(hook.got.map(({ body }) => (JSON.parse(body) as { key: string }).key)).size, 60);
});

test("a mail carries the same words, after a login", async (t) => {
  const smtp = await startSmtp(t, "pass-word-1");
  const mail = {
    host: "127.0.0.1",
    port: smtp.port,
    security: "none" as const,
    user: "gate@example.org",
    password: "pass-word-1",
    from: "gate@example.org",
    to: ["me@example.org", "you@example.org"],
  };
  const { notifier, lines } = aNotifier(t, { mail });
  notifier.raise({ ...ALERT, severity: "critical" });
  await eventually(() => assert.equal(smtp.mails.length, 1));
  const [got] = smtp.mails;
  assert.deepEqual([got?.user, got?.from, got?.to], ["gate@example.org", "gate@example.org", mail.to]);
  assert.match(got?.data ?? "", /^Subject: \[!\] home\.example\.org: 3 failed orders in a row$/m);
  assert.match(got?.data ?? "", /What to do: Check that the router/);
  assert.match(got?.data ?? "", /^Auto-Submitted: auto-generated$/m);
  assert.doesNotMatch(JSON.stringify(lines), /pass-word-1/);
});

test("a password that is wrong is not tried again, and STARTTLS that is not offered sends nothing", async (t) => {
  const smtp = await startSmtp(t, "right");
  const base = {
    host: "127.0.0.1",
    port: smtp.port,
    user: "u",
    password: "wrong-pw",
    from: "a@b.org",
    to: ["c@d.org"],
  };
  const wrong = aNotifier(t, { mail: { ...base, security: "none" } });
  wrong.notifier.raise(ALERT);
  await eventually(() => assert.ok(wrong.lines.some(({ event }) => event === "notify.failed")));
  assert.equal(smtp.connections(), 1);
  assert.doesNotMatch(JSON.stringify(wrong.lines), /wrong-pw/);
  const bare = aNotifier(t, { mail: { ...base, password: "right", security: "starttls" } });
  const [result] = await bare.notifier.test();
  assert.equal(result?.ok, false);
  assert.equal(smtp.mails.length, 0);
});

test("the test button says for each receiver whether it arrived", async (t) => {
  const [good, bad] = [await startHook(t), await startHook(t, [401])];
  const { notifier } = aNotifier(t, {
    webhooks: [good, bad].map((hook) => ({ url: hook.url(), format: "json", token: undefined })),
  });
  const results = await notifier.test();
  assert.deepEqual(
    results.map(({ ok }) => ok),
    [true, false],
  );
  assert.match(results[1]?.problem ?? "", /status 401: check its address and its token/);
  assert.doesNotMatch(JSON.stringify(results), /secret-path/);
});
