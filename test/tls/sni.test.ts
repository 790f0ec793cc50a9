/**
 * Which certificate is shown for which name: the table of facts/tls.md §6.8, on the function and on the wire.
 */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import pino from "pino";
import type { CertificateBundle } from "../../src/storage/bundles.ts";
import { createContexts } from "../../src/tls/contexts.ts";
import { createSniChooser } from "../../src/tls/sni.ts";
import { type TestCa, makeCa } from "../support/certificates.ts";
import { needs, runProgram } from "../support/programs.ts";
import { chooserFor, listen, meet } from "./listener.ts";

const NAMES = ["home.test", "pending.test", "*.lab.test", "exact.lab.test", "*.late.test", "192.0.2.7.test"];
const WITH_BUNDLE = ["home.test", "*.lab.test", "exact.lab.test"];

let ca: TestCa;
let bundles: CertificateBundle[];
let first: CertificateBundle;
before(async () => {
  ca = await makeCa();
  first = await ca.issueBundle({ names: ["home.test"] });
  bundles = await Promise.all(WITH_BUNDLE.map((name) => ca.issueBundle({ names: [name] })));
});

const long = (length: number): string => `${"a.".repeat(length)}home.test`.slice(-length);

const cases: [asked: string, got: string][] = [
  ["home.test", "home.test"],
  ["HOME.Test", "home.test"],
  ["home.test.", "home.test"],
  ["home.test..", "unknown"],
  ["exact.lab.test", "exact.lab.test"],
  ["other.lab.test", "*.lab.test"],
  ["OTHER.LAB.TEST.", "*.lab.test"],
  ["two.deep.lab.test", "unknown"],
  ["lab.test", "unknown"],
  [".lab.test", "unknown"],
  ["*.lab.test", "unknown"],
  ["pending.test", "pending"],
  ["Pending.Test.", "pending"],
  ["x.late.test", "pending"],
  ["nobody.test", "unknown"],
  ["home.test.evil.test", "unknown"],
  ["evilhome.test", "unknown"],
  ["127.0.0.1", "unknown"],
  ["192.0.2.7", "unknown"],
  ["::1", "unknown"],
  ["[::1]", "unknown"],
  ["", "unknown"],
  [".", "unknown"],
  ["home.test\0", "unknown"],
  ["home.test\0.nobody.test", "unknown"],
  ["home.test:443", "unknown"],
  [" home.test", "unknown"],
  ["höme.test", "unknown"],
  ["home.te\u017ft", "unknown"],
  ["\u212a.lab.test", "unknown"],
  ["__proto__", "unknown"],
  ["constructor", "unknown"],
  [long(253), "unknown"],
  [long(300), "unknown"],
  [long(100_000), "unknown"],
  [`${"a".repeat(244)}.lab.test`, "*.lab.test"],
  [`${"a".repeat(245)}.lab.test`, "unknown"],
];

for (const [asked, got] of cases) {
  test(`a handshake for ${JSON.stringify(asked.slice(0, 40))} (${asked.length}) gets ${got}`, () => {
    const contexts = createContexts({ bundles });
    const choice = chooserFor(NAMES, contexts).chooseContext(asked);
    if ("refused" in choice) assert.equal(choice.refused, got);
    else assert.equal(choice.context, contexts.find(got));
  });
}

test("on the wire each name gets its own certificate or none, and never a neighbour's", async (t) => {
  const { port } = await listen(t, chooserFor(NAMES, createContexts({ bundles })));
  for (const [servername, got] of [
    ["home.test", "home.test"],
    ["HOME.TEST", "home.test"],
    ["home.test.", "home.test"],
    ["other.lab.test", "*.lab.test"],
    ["exact.lab.test", "exact.lab.test"],
  ] as const) {
    const met = await meet(port, { servername, ca: ca.caPem });
    assert.equal(met.commonName, got, servername);
    assert.equal(met.authorized, true, servername);
  }
  for (const servername of ["pending.test", "nobody.test", "two.deep.lab.test", "x.late.test"]) {
    await assert.rejects(meet(port, { servername }), servername);
  }
  assert.equal((await meet(port, {})).commonName, "invalid");
});

test(
  "openssl: neither a missing, an unknown nor a bare-address name learns of any site",
  { skip: needs("openssl") },
  async (t) => {
    const { port } = await listen(t, chooserFor(NAMES, createContexts({ bundles })));
    for (const how of [["-noservername"], ["-servername", "nobody.test"], ["-servername", "127.0.0.1"]]) {
      const args = ["s_client", "-connect", `127.0.0.1:${port}`, "-showcerts", "-msg", ...how];
      const { stdout, stderr } = await runProgram("openssl", args, { withinMs: 10_000 });
      for (const name of ["home.test", "lab.test", "pending", "late.test", "Test CA"]) {
        assert.ok(!`${stdout}${stderr}`.includes(name), `${how.join(" ")} told ${name}`);
      }
      assert.equal(stdout.includes("BEGIN CERTIFICATE"), how[0] === "-noservername");
    }
  },
);

test("an expired and a not yet valid certificate still serve", async () => {
  for (const days of [-400, 400]) {
    const notBefore = new Date(Date.now() + days * 86_400_000);
    const bundle = await ca.issueBundle({ names: ["home.test"], notBefore, days: 30 });
    assert.ok("context" in chooserFor(NAMES, createContexts({ bundles: [bundle] })).chooseContext("home.test"));
  }
});

test("a name taken out of the configuration is unknown at once, although its certificate is still there", () => {
  const names = new Set(["home.test"]);
  const chooser = createSniChooser({
    names: () => names,
    contexts: createContexts({ bundles }),
    log: pino({ level: "silent" }),
  });
  assert.ok("context" in chooser.chooseContext("home.test"));
  names.delete("home.test");
  assert.deepEqual(chooser.chooseContext("home.test"), { refused: "unknown" });
});

test("a further name gets the certificate of its site, pending with it, and its own site again when it has one", async () => {
  const kept = new Map([
    ["home.test", "home.test"],
    ["www.home.test", "home.test"],
    ["*.lab.test", "late.test"],
  ]);
  const contexts = createContexts({ bundles });
  const log = pino({ level: "silent" });
  const chooser = createSniChooser({ names: () => kept, keptAs: (name) => kept.get(name) ?? name, contexts, log });
  const served = contexts.find("home.test");
  assert.ok(served);
  assert.deepEqual(chooser.chooseContext("WWW.home.test."), { context: served });
  assert.equal(chooser.siteOf("www.home.test"), "home.test");
  assert.deepEqual(chooser.chooseContext("x.lab.test"), { refused: "pending" }, "another's is not borrowed");
  kept.set("www.home.test", "*.lab.test");
  assert.deepEqual(chooser.chooseContext("www.home.test"), { context: contexts.find("*.lab.test") });
});

test("a pending site is said once in five minutes by its configured name, an unknown one never", () => {
  const lines: { event?: string; name?: string }[] = [];
  const log = pino({}, { write: (line: string) => lines.push(JSON.parse(line) as (typeof lines)[number]) });
  let now = Date.now();
  const names = new Set(NAMES);
  const chooser = createSniChooser({ names: () => names, contexts: createContexts(), log, clock: { now: () => now } });
  for (let each = 0; each < 100; each++) {
    chooser.chooseContext(`x${each}.late.test`);
    chooser.chooseContext(`nobody${each}.test`);
    now += 1_000;
  }
  assert.deepEqual(
    lines.map(({ event, name }) => [event, name]),
    [["tls.certificate_pending", "*.late.test"]],
  );
  now += 300_000;
  chooser.chooseContext("y.late.test");
  assert.equal(lines.length, 2);
});

test("a bundle that OpenSSL refuses is a refusal and a line in the log, not a crash in the handshake", () => {
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => lines.push(line) });
  const names = new Set(["home.test"]);
  const broken = { ...first, chainPem: "garbage" };
  const chooser = createSniChooser({ names: () => names, contexts: createContexts({ bundles: [broken] }), log });
  assert.deepEqual(chooser.chooseContext("home.test"), { refused: "pending" });
  assert.deepEqual(chooser.chooseContext("home.test"), { refused: "pending" });
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /GATEHOUSE_BUNDLE_DAMAGED/);
  assert.doesNotMatch(lines[0] ?? "", /PRIVATE KEY/);
});
