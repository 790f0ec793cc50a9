/**
 * Does an edit by a command change what it should and not one byte more?
 */
import assert from "node:assert/strict";
import { chmod, lstat, mkdir, readFile, readlink, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { editConfig } from "../../src/config/edit.ts";
import { insertEntry, removeEntry } from "../../src/config/text/edit-text.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { temporaryFolder } from "../support/gatehouse.ts";

const FILE = `# my house
sites:
    ha.example.org:   192.168.0.200:8123   # the good one
    nas.example.org: { to: "https://192.168.0.202:5001", upstreamTls: { verify: false } }

# doors
ports:
    # to the build VM
    tcp/20170:
        to: 172.16.1.2:22
        # only us
        allow: [ lan ]


    udp/51820: 192.168.0.203:51820   # WireGuard

# talk less
log:   { level: warn }
`;

const inserted: [what: string, before: string, after: string][] = [
  [
    "after the last entry, before what follows",
    FILE,
    FILE.replace("# WireGuard\n", "# WireGuard\n    tcp/22: 10.0.0.1:22\n"),
  ],
  [
    "in a section of its own when there is none",
    "sites:\n  a: b\n",
    "sites:\n  a: b\n\nports:\n  tcp/22: 10.0.0.1:22\n",
  ],
  ["when the file has no last line end", "sites: { a: b }", "sites: { a: b }\n\nports:\n  tcp/22: 10.0.0.1:22\n"],
  ["below a key with nothing below it", "ports:\nsites:\n  a: b\n", "ports:\n  tcp/22: 10.0.0.1:22\nsites:\n  a: b\n"],
  ["between braces", "ports: { udp/1: a:1 } # x\n", "ports: { udp/1: a:1, tcp/22: 10.0.0.1:22 } # x\n"],
  ["between empty braces", "ports: {}\nlog: {}\n", "ports: { tcp/22: 10.0.0.1:22 }\nlog: {}\n"],
  [
    "behind a block whose comment is its last line",
    "ports:\n  udp/1:\n    to: a:1\n    # the end\n",
    "ports:\n  udp/1:\n    to: a:1\n    # the end\n  tcp/22: 10.0.0.1:22\n",
  ],
];

for (const [what, before, after] of inserted) {
  test(`an entry is inserted ${what}, and taken out again without a trace`, () => {
    const text = insertEntry(before, "ports", "tcp/22", "10.0.0.1:22");
    assert.equal(text, after);
    const values = parse(text) as { ports: Record<string, unknown> };
    assert.equal(values.ports["tcp/22"], "10.0.0.1:22");
    const back = parse(removeEntry(text, "ports", "tcp/22") ?? "") as Record<string, unknown>;
    // A section that was made stays as a key with nothing below it, which is the same as none.
    assert.deepEqual({ ...back, ports: back["ports"] ?? {} }, { ports: {}, ...emptyAsNone(parse(before)) });
  });
}

const emptyAsNone = (value: unknown): object =>
  Object.fromEntries(Object.entries(value as object).filter(([, one]) => one !== null));

test("an entry of several lines goes with all of them, and what stands around it stays", () => {
  const text = removeEntry(FILE, "ports", "tcp/20170");
  assert.equal(
    text,
    FILE.replace("    tcp/20170:\n        to: 172.16.1.2:22\n        # only us\n        allow: [ lan ]\n", ""),
  );
  assert.equal(removeEntry(FILE, "ports", "tcp/1"), undefined);
});

test("an edit keeps mode and link, and leaves nothing behind", async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, "real"));
  const real = join(folder, "real/gatehouse.yaml");
  const link = join(folder, "gatehouse.yaml");
  await writeFile(real, "sites: { a.example.org: demo }\n");
  await chmod(real, 0o640);
  await symlink("real/gatehouse.yaml", link);
  await editConfig(link, {}, (text) => insertEntry(text, "ports", "tcp/22", "10.0.0.1:22"));
  assert.match(await readFile(real, "utf8"), /tcp\/22: 10\.0\.0\.1:22/);
  assert.equal((await lstat(real)).mode & 0o777, 0o640);
  assert.equal(await readlink(link), "real/gatehouse.yaml");
});

test("an edit that would make the file wrong is refused with its findings, and nothing is written", async (t) => {
  const file = join(await temporaryFolder(t), "gatehouse.yaml");
  const before = "sites: { a.example.org: demo }\n";
  await writeFile(file, before);
  await assert.rejects(
    editConfig(file, {}, (text) => insertEntry(text, "ports", "tcp/99999", "10.0.0.1:22")),
    (error) => isGatehouseError(error, "GATEHOUSE_CONFIG_INVALID") && /99999 does not exist/.test(error.message),
  );
  assert.equal(await readFile(file, "utf8"), before);
});
