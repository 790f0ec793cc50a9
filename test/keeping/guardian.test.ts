/**
 * The guardian: which certificates need a person, and does a handshake tell the truth about our own listener?
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, createSecureContext, type SecureContext } from "node:tls";
import { test, type TestContext } from "node:test";
import type { CertificateStatus } from "../../src/acme/certificate-status.ts";
import { systemClock } from "../../src/core/time.ts";
import { certificateAlert } from "../../src/keeping/certificate-alerts.ts";
import { createGuardian } from "../../src/keeping/guardian.ts";
import { checkServed } from "../../src/keeping/own-handshake.ts";
import type { CertificateSample } from "../../src/observe/metrics.ts";
import type { Alert } from "../../src/observe/notify-contract.ts";
import type { CertificateBundle } from "../../src/storage/bundles.ts";
import { memoryLog } from "../support/acme-home.ts";
import { makeCa } from "../support/certificates.ts";

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 5, 1);
const NAME = "home.example.org";
const RULES = { failures: 3, lifeLeft: 1 / 5 };

const failure = {
  code: "GATEHOUSE_ACME_CHALLENGE_FAILED",
  message: "The CA could not reach this home.",
  hint: "Check the router.",
  at: NOW - DAY,
  notBefore: undefined,
};

/** Ninety days, thirty of them gone. */
const well: CertificateStatus = {
  name: NAME,
  state: "valid",
  issuer: "Example CA",
  profile: undefined,
  notBefore: NOW - 30 * DAY,
  notAfter: NOW + 60 * DAY,
  renewAt: NOW + 30 * DAY,
  nextTry: NOW + 30 * DAY,
  lastError: undefined,
  lastFailure: undefined,
  consecutiveFailures: 0,
  isRevoked: false,
  isDisabled: false,
};
const none = { notBefore: undefined, notAfter: undefined, renewAt: undefined };
const old = (daysLeft: number) => ({
  notBefore: NOW - (90 - daysLeft) * DAY,
  notAfter: NOW + daysLeft * DAY,
  renewAt: NOW - (30 - daysLeft) * DAY,
});

const rows: [what: string, change: Partial<CertificateStatus>, served: string | undefined, is: string | undefined][] = [
  ["a young certificate", {}, undefined, undefined],
  ["two failures", { consecutiveFailures: 2, lastFailure: failure }, undefined, undefined],
  ["three failures", { consecutiveFailures: 3, lastFailure: failure }, undefined, "warning 3 failed orders in a row"],
  [
    "three failures and nothing there",
    { ...none, state: "pending", consecutiveFailures: 3, lastFailure: failure },
    undefined,
    "critical 3 failed orders in a row",
  ],
  ["a first order under way", { ...none, state: "pending" }, undefined, undefined],
  [
    "a refusal",
    { ...none, state: "refused", consecutiveFailures: 1, lastFailure: failure },
    undefined,
    "critical no certificate can be had",
  ],
  ["an expired one", { ...old(-1), state: "expired" }, undefined, "critical the certificate has expired"],
  ["one due for an hour", old(29.9), undefined, undefined],
  ["less than a fifth left", old(17), undefined, "warning the certificate is running out"],
  ["less than a tenth left", old(8), undefined, "critical the certificate is running out"],
  ["less than a fifth left, as the configuration wants it", { ...old(17), renewAt: NOW + DAY }, undefined, undefined],
  ["another one is served", {}, "the listener shows serial 01", "critical something else is served than is stored"],
  ["a clock in the past", { notBefore: NOW + DAY }, undefined, "critical the clock is wrong"],
  ["an expired one that was disabled", { ...old(-1), state: "expired", isDisabled: true }, undefined, undefined],
];

for (const [what, change, served, is] of rows) {
  test(`${what}: ${is ?? "nobody is called"}`, () => {
    const alert = certificateAlert({ ...well, ...change }, served, RULES, NOW);
    assert.equal(alert && `${alert.severity} ${alert.title.replace(`${NAME}: `, "")}`, is);
    if (change.lastFailure !== undefined && alert !== undefined) {
      assert.match(alert.message, /The CA could not reach this home\.$/);
      assert.equal(alert.nextStep, "Check the router.");
    }
  });
}

async function startListener(t: TestContext, first: { keyPem: string; chainPem: string }) {
  const contextOf = ({ keyPem, chainPem }: typeof first) => createSecureContext({ key: keyPem, cert: chainPem });
  let context: SecureContext = contextOf(first);
  const asked: string[] = [];
  const server = createServer({
    SNICallback(name, done) {
      asked.push(name);
      done(null, context);
    },
  });
  server.on("tlsClientError", () => {});
  /** The listener has the client's last word, too. */
  const finished = once(server, "secureConnection");
  server.on("secureConnection", (socket) => socket.on("error", () => {}));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    bound: { host: "0.0.0.0", port, proxyProtocolFrom: [] },
    asked,
    finished,
    serve: (pair: typeof first) => void (context = contextOf(pair)),
  };
}

test("a handshake shows the stored certificate, and a wildcard is asked for by a name below it", async (t) => {
  const ca = await makeCa({ intermediate: true });
  const bundle = await ca.issueBundle({ names: ["*.example.org"] });
  const listener = await startListener(t, bundle);
  assert.equal(await checkServed(listener.bound, bundle, Date.now()), undefined);
  assert.deepEqual(listener.asked, ["gatehouse-check.example.org"]);
  await listener.finished;
});

test("what a handshake finds wrong is said in words", async (t) => {
  const ca = await makeCa({ intermediate: true });
  const [bundle, other] = [await ca.issueBundle({ names: [NAME] }), await ca.issueBundle({ names: [NAME] })];
  const listener = await startListener(t, other);
  assert.equal(
    await checkServed(listener.bound, bundle, Date.now()),
    `the listener shows the certificate with serial ${other.serial}, stored is ${bundle.serial}`,
  );
  const strange = { ...bundle, chainPem: bundle.chainPem.replace(/(?<=-----END CERTIFICATE-----\n)[^]*/, ca.caPem) };
  assert.match(
    (await checkServed(listener.bound, strange, Date.now())) ?? "",
    /^link 1 of the stored chain did not sign/,
  );
  const late = Date.now() + 4_000 * DAY;
  assert.match(
    (await checkServed(listener.bound, bundle, late)) ?? "",
    /^an intermediate certificate \(.+\) has expired$/,
  );
  const nobody = { ...listener.bound, port: 1 };
  assert.match(
    (await checkServed(nobody, bundle, Date.now())) ?? "",
    /^no handshake with our own listener: .*ECONNREFUSED/,
  );
});

test("what is served wrongly is put right, and what stays wrong is told and counted until it is over", async (t) => {
  const ca = await makeCa();
  const [bundle, other] = [await ca.issueBundle({ names: [NAME] }), await ca.issueBundle({ names: [NAME] })];
  const listener = await startListener(t, other);
  const { log, lines } = memoryLog();
  const told: Alert[] = [];
  const settled: string[] = [];
  let samples: () => Iterable<CertificateSample> = () => [];
  let canRestore = false;
  const restored: CertificateBundle[] = [];
  const guardian = createGuardian({
    log,
    clock: systemClock,
    metrics: { watchCertificates: (read) => void (samples = read) },
    notifier: { raise: (alert) => void told.push(alert), settle: (key) => void settled.push(key) },
    rules: () => RULES,
    certificates: () => Promise.resolve([{ ...well, ...bundle, renewAt: bundle.notAfter }]),
    served: () => [NAME],
    listener: () => listener.bound,
    bundle: () => Promise.resolve(bundle),
    restore(wanted) {
      restored.push(wanted);
      if (canRestore) listener.serve(wanted);
    },
  });
  t.after(() => guardian.stop());
  assert.deepEqual([...(await guardian.shakeHands()).keys()], [NAME]);
  guardian.start();
  await until(() => told.length > 0);
  assert.match(told[0]?.message ?? "", /^the listener shows the certificate with serial/);
  assert.deepEqual(
    [...samples()].map(({ served }) => served?.ok),
    [false],
  );

  canRestore = true;
  assert.equal((await guardian.shakeHands()).size, 0);
  assert.equal(restored.length, 2);
  guardian.lookSoon();
  await until(() => settled.length > 0);
  assert.deepEqual(settled, [`certificate:${NAME}`]);
  assert.deepEqual(
    [...samples()].map(({ served }) => served?.ok),
    [true],
  );
  assert.deepEqual(
    lines.filter(({ event }) => event === "guardian.failed").length,
    1,
    "the second time it could be put right",
  );
});

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!holds() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(holds());
}
