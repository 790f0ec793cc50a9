/**
 * What does loading promise beyond single cases: nothing thrown but findings, one bad site stops no other, a frozen result?
 */
import assert from "node:assert/strict";
import { isIPv4 } from "node:net";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { BlockList } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { readListenAddress, listenText, readPeers } from "../../src/config/values/addresses.ts";
import { ConfigInvalid, Refusal } from "../../src/config/findings.ts";
import { digestOf, loadConfig, type LoadOptions } from "../../src/config/load.ts";
import { readTarget } from "../../src/config/values/targets.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

const loadText = (text: string, options: Partial<LoadOptions> = {}, file = "/srv/gatehouse.yaml") =>
  loadConfig(file, { env: {}, readFile: async () => text, ...options });

const findingsOf = (text: string, options: Partial<LoadOptions> = {}) =>
  loadText(text, options).then(
    () => assert.fail("it loaded"),
    (error: unknown) => {
      assert.ok(error instanceof ConfigInvalid, String(error));
      assert.ok(isGatehouseError(error, "GATEHOUSE_CONFIG_INVALID"));
      return error.findings;
    },
  );

const ONE_BAD = `acme: { ca: local }
sites:
  good.home.lan: demo
  bad_name.home.lan: demo
  bad.home.lan: { to: nowhere, maxBdy: 1GB }
  other.home.lan: 10.0.0.1:80
`;

test("one bad site never stops the others: it is quarantined with its findings", async () => {
  const { config } = await loadText(ONE_BAD, { quarantine: true });
  assert.deepEqual(
    config.sites.map(({ name }) => name),
    ["good.home.lan", "other.home.lan"],
  );
  assert.deepEqual(config.quarantined, [
    {
      name: "bad_name.home.lan",
      finding:
        '/srv/gatehouse.yaml:4:3  sites["bad_name.home.lan"]  the name contains _, which no CA signs; use a hyphen instead',
    },
    {
      name: "bad.home.lan",
      finding:
        '/srv/gatehouse.yaml:5:23  sites["bad.home.lan"].to  "nowhere" needs a port; write nowhere:8123, say\n' +
        '/srv/gatehouse.yaml:5:32  sites["bad.home.lan"].maxBdy  unknown key; did you mean maxBody?',
    },
  ]);
});

test("without quarantine the same file is refused, with every finding", async () => {
  assert.equal((await findingsOf(ONE_BAD)).length, 3);
});

test("a finding outside the sites is an error in spite of quarantine", async () => {
  assert.deepEqual(
    (await findingsOf(`${ONE_BAD}drain: 5\n`, { quarantine: true })).map(({ line }) => line),
    [4, 5, 5, 7],
  );
});

test("sites that are all bad are an error in spite of quarantine", async () => {
  assert.equal((await findingsOf("sites: { a_b.example.org: demo, c: demo }", { quarantine: true })).length, 2);
});

test("neither of two entries for one name is served", async () => {
  const text =
    "sites:\n  a.example.org: demo\n  b.example.org: demo\n  B.example.org: 10.0.0.1:80\n  c.example.org: demo\n";
  const { config } = await loadText(text, { quarantine: true });
  assert.deepEqual(
    config.sites.map(({ name }) => name),
    ["a.example.org", "c.example.org"],
  );
  assert.deepEqual(
    config.quarantined.map(({ name }) => name),
    ["b.example.org"],
  );

  const twice = await loadText("sites:\n  a.example.org: demo\n  b.example.org: demo\n  b.example.org: demo\n", {
    quarantine: true,
  });
  assert.deepEqual(
    twice.config.sites.map(({ name }) => name),
    ["a.example.org"],
  );
});

test("a missing secret of one site stops that site alone", async () => {
  const text = "sites:\n  a.example.org: demo\n  b.example.org: { to: https://nas, upstreamTls: { roots: env:NO } }\n";
  const { config } = await loadText(text, { quarantine: true });
  assert.deepEqual(
    config.quarantined.map(({ name }) => name),
    ["b.example.org"],
  );
});

test("the result is frozen, to the last header", async () => {
  const { config } = await loadText("sites: { a.example.org: { to: demo, headers: { response: { x-a: b } } } }");
  const site = config.sites[0];
  assert.ok(site !== undefined);
  for (const part of [
    config,
    config.listen,
    config.listen.https,
    config.sites,
    site,
    site.routes,
    site.routes[0],
    site.timeouts,
  ]) {
    assert.ok(Object.isFrozen(part));
  }
  assert.throws(() => (site.responseHeaders as Map<string, string>).set("x-b", "c"), /frozen/);
  assert.equal(site.responseHeaders.get("x-a"), "b");
});

const HOMES: [file: string, state: string, admin: string][] = [
  ["/etc/gatehouse/gatehouse.yaml", "/var/lib/gatehouse", "/run/gatehouse/admin.sock"],
  ["/etc/gatehouse/sites/a.yaml", "/var/lib/gatehouse", "/run/gatehouse/admin.sock"],
  ["/etc/gatehouse-two/a.yaml", "/etc/gatehouse-two/certs", "/etc/gatehouse-two/certs/admin.sock"],
  ["/home/me/gatehouse/config/gatehouse.yaml", "/home/me/gatehouse/certs", "/home/me/gatehouse/certs/admin.sock"],
  ["/home/me/gatehouse.yaml", "/home/me/certs", "/home/me/certs/admin.sock"],
];
for (const [file, state, admin] of HOMES) {
  test(`the state of ${file} lies in ${state}`, async () => {
    const { config } = await loadText("sites: { a.example.org: demo }", {}, file);
    assert.deepEqual([config.state, config.admin], [state, admin]);
  });
}

test("a relative state begins at the home folder, and the admin socket follows it", async () => {
  const { config } = await loadText("state: var\nsites: { a.example.org: demo }", {}, "/home/me/x/config/g.yaml");
  assert.deepEqual([config.state, config.admin], ["/home/me/x/var", "/home/me/x/var/admin.sock"]);
});

test("a secret loses its last newline, and just one; a relative file begins beside the configuration", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, "mail"), "me@mail.test\r\n");
  const file = join(folder, "g.yaml");
  await writeFile(file, "\uFEFFacme: { email: file:mail }\r\nsites: { a.example.org: demo }\r\n");
  const { config, references, digest } = await loadConfig(file, { env: {} });
  assert.equal(config.acme.email, "me@mail.test");
  assert.equal(references.get("me@mail.test"), `file:${join(folder, "mail")}`);
  assert.equal(digest, digestOf("acme: { email: file:mail }\r\nsites: { a.example.org: demo }\r\n"));
  await writeFile(join(folder, "mail"), "me@mail.test\n\n");
  await assert.rejects(loadConfig(file, { env: {} }), /acme\.email {2}is not an e-mail address/);
});

test("a file that cannot be read says why and what to do", async (t) => {
  const folder = await temporaryFolder(t);
  const cases: [name: string, make: (path: string) => Promise<void>, because: RegExp][] = [
    ["missing.yaml", async () => {}, /does not exist/],
    ["folder.yaml", async (path) => await mkdir(path).then(() => {}), /is a folder/],
    ["latin1.yaml", (path) => writeFile(path, Buffer.from([0x61, 0xe9, 0x0a])), /not UTF-8/],
    ["utf16.yaml", (path) => writeFile(path, Buffer.from("\uFEFFsites:\n", "utf16le")), /not UTF-8/],
    ["large.yaml", (path) => writeFile(path, "#".repeat(4_000_001)), /larger than 4 MB/],
  ];
  if (process.getuid?.() !== 0) {
    cases.push(["locked.yaml", async (path) => (await writeFile(path, "")) ?? chmod(path, 0), /may not be read/]);
  }
  for (const [name, make, because] of cases) {
    await make(join(folder, name));
    await assert.rejects(loadConfig(join(folder, name), { env: {} }), (error: unknown) => {
      assert.ok(isGatehouseError(error, "GATEHOUSE_CONFIG_UNREADABLE"), String(error));
      assert.match(error.message, because);
      assert.match(error.hint ?? "", /--config/);
      return true;
    });
  }
});

test("an endless file is given up on", async () => {
  await assert.rejects(loadConfig("/dev/zero", { env: {} }), /larger than 4 MB/);
});

const KEYS_AND_VALUES =
  "sites acme listen ca local to routes https http headers response null true 5 30s 1GB demo nas:80 a.example.org *.b.org " +
  "env:X file:/x ${X} [::]:443 << &a *a !t | > ? ' \" # --- %YAML|1.1 __proto__ constructor";
const GLUE = ["\n", "\n  ", "\n    ", "\t", ": ", ":", "- ", "{ ", " }", "[", "]", ", ", "\r\n", "\0", "\u2028"];
const WORDS = KEYS_AND_VALUES.split(" ")
  .map((word) => word.replace("YAML|", "YAML "))
  .concat(GLUE);

test("any text loads, or gives findings with a place and a remedy; nothing else is thrown", async () => {
  const yamlish = fc
    .array(fc.oneof(fc.constantFrom(...WORDS), fc.string({ maxLength: 5 })), { maxLength: 40 })
    .map((words) => words.join(""));
  await fc.assert(
    fc.asyncProperty(fc.oneof(yamlish, fc.string({ unit: "binary" })), fc.boolean(), async (text, quarantine) => {
      const lines = text.split("\n").length;
      await loadText(text, { quarantine }).catch((error: unknown) => {
        assert.ok(error instanceof ConfigInvalid, String((error as Error).stack));
        assert.ok(error.findings.length > 0);
        for (const finding of error.findings) {
          assert.ok(finding.line >= 1 && finding.line <= lines, `line ${finding.line} of ${lines}`);
          assert.ok(finding.column >= 1);
          assert.ok(finding.message !== "" && finding.remedy !== "", JSON.stringify(finding));
        }
      });
    }),
    { numRuns: 2_000 },
  );
});

test("any tree of values under the known keys loads, or gives findings", async () => {
  const keys = fc.constantFrom(
    ..."listen https http state admin trustedProxies drain acme ca email caRoots renewAt metrics log level access format to upstreamTls".split(
      " ",
    ),
    ..."verify roots serverName maxBody timeouts connect idle routes strip redirect status headers response /a x-a a.example.org".split(
      " ",
    ),
  );
  const scalar = fc.oneof(
    fc.constantFrom(null, true, false, 0, 1.5, "", "demo", ":443", "5s", "1GB", "lan", "https://x"),
    fc.string(),
  );
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      scalar,
      fc.array(tie("tree"), { maxLength: 3 }),
      fc.dictionary(keys, tie("tree"), { maxKeys: 4 }),
    ),
  }));
  await fc.assert(
    fc.asyncProperty(tree, fc.dictionary(keys, tree, { maxKeys: 5 }), async (site, top) => {
      const text = JSON.stringify({ ...top, sites: { "a.example.org": site, "b.example.org": "demo" } });
      await loadText(text).catch((error: unknown) =>
        assert.ok(error instanceof ConfigInvalid, String((error as Error).stack)),
      );
    }),
    { numRuns: 1_500 },
  );
});

test("brackets nested ten thousand deep are a finding", async () => {
  assert.equal((await findingsOf(`a: ${"[".repeat(10_000)}${"]".repeat(10_000)}`)).length > 0, true);
});

test("every target that is taken has a kind, a host and a port that exist", () => {
  const part = fc.oneof(
    fc.constantFrom(
      "http://",
      "https://",
      "unix:",
      "demo",
      "[",
      "]",
      ":",
      "80",
      "99999",
      "nas",
      "10.0.0.1",
      "fd00::5",
      "/",
      "@",
      "_",
      ".",
    ),
    fc.string({ maxLength: 4 }),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const target = readTarget(parts.join(""));
      if (target instanceof Refusal) return assert.ok(target.what !== "" && target.remedy !== "");
      if (target.kind === "demo") return;
      if (target.kind === "unix") return assert.match(target.path, /^\/[^\0]*$/);
      assert.match(target.host, /^[\w.:%-]+$/);
      assert.ok(target.port >= 1 && target.port <= 65_535);
    }),
    { numRuns: 3_000 },
  );
});

test("every listening address is written as it can be read", () => {
  const host = fc.oneof(fc.constant(undefined), fc.ipV4(), fc.ipV6());
  fc.assert(
    fc.property(host, fc.nat(65_535), (host, port) => {
      assert.deepEqual(readListenAddress(listenText({ host, port })), { host, port });
    }),
  );
});

test("a network holds exactly the addresses that Node's own matcher says", () => {
  const anyAddress = fc.oneof(fc.ipV4(), fc.ipV6());
  fc.assert(
    fc.property(anyAddress, fc.nat(128), (address, bits) => {
      const length = isIPv4(address) ? bits % 33 : bits;
      const read = readPeers(`${address}/${length}`);
      const remedy = read instanceof Refusal ? read.remedy : `write ${read[0] ?? ""},`;
      if (/^::ffff:/i.test(address)) return;
      const cidr = /^write (\S+),/.exec(remedy)?.[1] ?? assert.fail(remedy);
      const [network = "", written] = cidr.split("/");
      assert.equal(Number(written), length);
      const family = isIPv4(address) ? "ipv4" : "ipv6";
      const list = new BlockList();
      list.addSubnet(network, length, family);
      assert.ok(list.check(address, family), `${address} is not in ${cidr}`);
      assert.deepEqual(readPeers(cidr), [cidr]);
    }),
    { numRuns: 1_000 },
  );
});
