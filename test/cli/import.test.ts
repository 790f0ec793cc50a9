/**
 * `gatehouse import` and `export`, through the running Gatehouse and without one.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { connect } from "node:tls";
import { readPkcs12, writePkcs12 } from "../../src/tls/pkcs12.ts";
import { makeCa } from "../support/certificates.ts";
import { configText, runCli, startGatehouse, temporaryFolder, type CliResult } from "../support/gatehouse.ts";

const json = ({ stdout }: CliResult) => JSON.parse(stdout) as Record<string, unknown>;

async function shown(port: number, servername: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", servername, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const { fingerprint256 } = socket.getPeerX509Certificate() ?? {};
  socket.destroy();
  return fingerprint256 ?? "";
}

test("what is imported serves at once, over a restart too, and is not ordered again", async (t) => {
  const folder = await temporaryFolder(t);
  const ca = await makeCa({ intermediate: true });
  const brought = await ca.issue({ names: ["a.test", "*.wild.test"] });
  const fingerprint = new X509Certificate(brought.chainPem).fingerprint256;
  await writeFile(join(folder, "all.pem"), brought.keyPem + brought.chainPem);
  const config = configText(folder, `sites: { a.test: demo, b.test: demo, one.wild.test: demo }\n`);
  const first = await startGatehouse(t, { folder, config });
  await first.line("certificate.issued", ({ name }) => name === "one.wild.test");

  // The embedded CA's lives as long, so this one has to be insisted on.
  const kept = await first.cli("import", join(folder, "all.pem"));
  assert.equal(kept.code, 0, kept.stderr);
  assert.match(kept.stdout, /^a\.test: kept the one of Gatehouse local CA .*--force/);
  const result = await first.cli("import", join(folder, "all.pem"), "--force", "--json");
  assert.equal(result.code, 0, result.stderr);
  const [{ names }] = json(result)["results"] as [{ names: { name: string; outcome: string }[] }];
  assert.deepEqual(
    names.map(({ name, outcome }) => [name, outcome]),
    [
      ["a.test", "imported"],
      ["one.wild.test", "imported"],
    ],
  );
  await first.line("certificate.imported", ({ name }) => name === "one.wild.test");
  const served = async (port: number) => Promise.all(["a.test", "one.wild.test"].map((name) => shown(port, name)));
  assert.deepEqual(await served(first.httpsPort), [fingerprint, fingerprint]);
  assert.notEqual(await shown(first.httpsPort, "b.test"), fingerprint);
  assert.equal(await first.stop(), 0);

  const second = await startGatehouse(t, { folder, config });
  const listed = json(await second.cli("ls", "--json"))["certificates"] as { name: string; issuer: string }[];
  assert.match(listed.find(({ name }) => name === "a.test")?.issuer ?? "", /intermediate$/);
  assert.deepEqual(await served(second.httpsPort), [fingerprint, fingerprint]);
  assert.deepEqual(
    second.lines.filter(({ event }) => event === "certificate.issued"),
    [],
  );
  // A person may still have it replaced, as any other.
  const renewed = await second.cli("renew", "a.test");
  assert.equal(renewed.code, 0, renewed.stderr);
  assert.notEqual(await shown(second.httpsPort, "a.test"), fingerprint);
});

test("without a running Gatehouse both work on the state folder, in PEM and in PKCS#12", async (t) => {
  const folder = await temporaryFolder(t);
  const ca = await makeCa({ intermediate: true });
  const { keyPem, chainPem } = await ca.issue({ names: ["a.test"] });
  const at = (file: string) => join(folder, file);
  await writeFile(at("gatehouse.yaml"), configText(folder, "sites: { a.test: demo }\n"));
  await writeFile(at("password"), "geheim\n");
  await writeFile(at("in.pfx"), writePkcs12({ keyPem, chainPem, password: "geheim", label: "x", format: "modern" }));
  const cli = (...args: string[]) => runCli([...args, "--config", at("gatehouse.yaml")]);

  const none = await cli("export", "a.test", "-");
  assert.deepEqual([none.code, none.stdout], [75, ""], "there is nothing yet");
  const imported = await cli("import", at("in.pfx"), "--password-file", at("password"));
  assert.equal(imported.code, 0, imported.stderr);
  assert.match(imported.stdout, /^a\.test: imported the one of .* intermediate, valid until /);

  assert.equal((await cli("export", "a.test", at("out.pem"))).code, 0);
  assert.equal(await readFile(at("out.pem"), "utf8"), keyPem + chainPem);
  assert.equal((await stat(at("out.pem"))).mode & 0o777, 0o600);
  const open = await cli("export", "a.test", at("out.p12"));
  assert.deepEqual([open.code, /needs a password/.test(open.stderr)], [65, true]);
  assert.equal((await cli("export", "a.test", at("out.p12"), "--password-file", at("password"))).code, 0);
  assert.equal(readPkcs12(await readFile(at("out.p12")), "geheim").keyPem, keyPem);
  const again = await cli("export", "a.test", at("out.pem"));
  assert.deepEqual([again.code, /is there already/.test(again.stderr)], [73, true], "nothing is overwritten");
});

test("each mistake has its code, and nothing is stored then", async (t) => {
  const folder = await temporaryFolder(t);
  const ca = await makeCa({ intermediate: true });
  const [mine, foreign] = await Promise.all(["a.test", "x.test"].map((name) => ca.issue({ names: [name] })));
  assert.ok(mine !== undefined && foreign !== undefined);
  const p12 = writePkcs12({ ...mine, password: "geheim", label: "x", format: "compatible" });
  const gatehouse = await startGatehouse(t, { folder, config: configText(folder, "sites: { a.test: demo }\n") });
  await gatehouse.line("certificate.issued");
  const before = await shown(gatehouse.httpsPort, "a.test");
  const cases: [title: string, content: string | Buffer, code: string, ...args: string[]][] = [
    ["wrong password", p12, "GATEHOUSE_IMPORT_PASSWORD"],
    ["no site of this name", foreign.keyPem + foreign.chainPem, "GATEHOUSE_CERTIFICATE_UNKNOWN_NAME"],
    [
      "for a site that it does not cover",
      foreign.keyPem + foreign.chainPem,
      "GATEHOUSE_IMPORT_KEY",
      "--name",
      "a.test",
    ],
  ];
  for (const [title, content, code, ...args] of cases) {
    const file = join(folder, "case");
    await writeFile(file, content);
    const result = await gatehouse.cli("import", file, "--force", "--json", ...args);
    assert.equal(result.code, 65, title);
    const [{ error }] = json(result)["results"] as [{ error: { code: string } }];
    assert.equal(error.code, code, title);
  }
  assert.equal(await shown(gatehouse.httpsPort, "a.test"), before);
});

test("of a folder of Caddy's only what has a site is taken, and the rest is named", async (t) => {
  const folder = await temporaryFolder(t);
  const ca = await makeCa({ intermediate: true });
  for (const name of ["a.test", "x.test"]) {
    const { keyPem, chainPem } = await ca.issue({ names: [name] });
    const place = join(folder, "caddy", "certificates", "ca.test-dir", name);
    await mkdir(place, { recursive: true });
    await writeFile(join(place, `${name}.key`), keyPem);
    await writeFile(join(place, `${name}.crt`), chainPem);
  }
  await writeFile(join(folder, "gatehouse.yaml"), configText(folder, "sites: { a.test: demo }\n"));
  const result = await runCli(["import", join(folder, "caddy"), "--config", join(folder, "gatehouse.yaml")]);
  assert.equal(result.code, 0, result.stderr);
  assert.match(result.stdout, /^a\.test: imported[^\n]*\n$/);
  assert.match(result.stderr, /No site is named x\.test/);
});
