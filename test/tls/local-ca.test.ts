/**
 * The embedded CA and the fallback certificate; openssl and curl judge what they make.
 */
import assert from "node:assert/strict";
import { X509Certificate, createPrivateKey, createPublicKey, type webcrypto } from "node:crypto";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import * as x509 from "@peculiar/x509";
import type { Clock } from "../../src/core/time.ts";
import { createBundleStore } from "../../src/storage/bundles.ts";
import { createFileStorage } from "../../src/storage/files.ts";
import { P256, certificatePem, makeCertificate, newKeyPair } from "../../src/tls/certificate-maker.ts";
import { createContexts } from "../../src/tls/contexts.ts";
import { createFallback } from "../../src/tls/fallback.ts";
import { LOCAL_ROOT_KEY, createLocalCa } from "../../src/tls/local-ca.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";
import { chooserFor, listen, meet } from "./listener.ts";

const DAY_MS = 86_400_000;
const openssl = { skip: needs("openssl") };

async function open(t: TestContext, clock?: Clock) {
  const folder = await temporaryFolder(t);
  const storage = await createFileStorage(folder);
  const replaced: string[] = [];
  const start = () =>
    createLocalCa({
      storage,
      onReplaced: (reason) => replaced.push(reason),
      ...(clock === undefined ? {} : { clock }),
    });
  return {
    folder,
    storage,
    replaced,
    start,
    rootFile: join(folder, LOCAL_ROOT_KEY),
    keyFile: join(folder, "ca/local/key.pem"),
  };
}

async function verify(folder: string, rootFile: string, chainPem: string, ...args: string[]): Promise<string> {
  const file = join(folder, "leaf.pem");
  await writeFile(file, chainPem);
  const all = ["verify", "-x509_strict", "-CAfile", rootFile, ...args, file];
  const { stdout, stderr } = await runProgram("openssl", all, { withinMs: 10_000 });
  return `${stdout}${stderr}`;
}

const longName = `${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(60)}.${"d".repeat(60)}.test`;

const names: [names: string[], host: string, isGood: boolean][] = [
  [["home.localhost"], "home.localhost", true],
  [["home.localhost"], "other.localhost", false],
  [["*.lab.home"], "nas.lab.home", true],
  [["*.lab.home"], "a.nas.lab.home", false],
  [["ha.example.org", "ha.lan"], "ha.lan", true],
  [[longName], longName, true],
  [["xn--bcher-kva.example"], "xn--bcher-kva.example", true],
];

for (const [wanted, host, isGood] of names) {
  test(
    `openssl: a leaf for ${wanted.join(", ").slice(0, 60)} is ${isGood ? "" : "not "}good for ${host.slice(0, 40)}`,
    openssl,
    async (t) => {
      const { folder, start, rootFile } = await open(t);
      const bundle = await (await start()).issueLocal(wanted);
      const told = await verify(folder, rootFile, bundle.chainPem, "-purpose", "sslserver", "-verify_hostname", host);
      assert.match(told, isGood ? /leaf\.pem: OK/ : /hostname mismatch/);
    },
  );
}

test("a leaf lives 90 days from now, begins an hour ago, and says who it is", async (t) => {
  const now = Date.UTC(2027, 2, 1, 12, 0, 0);
  const { start } = await open(t, { now: () => now });
  const bundle = await (await start()).issueLocal(["*.lab.home", "lab.home"]);
  assert.equal(bundle.name, "*.lab.home");
  assert.deepEqual(bundle.names, ["*.lab.home", "lab.home"]);
  assert.equal(bundle.notBefore, now - 3_600_000);
  assert.equal(bundle.notAfter, now + 90 * DAY_MS);
  assert.equal(bundle.ca, "local");
  assert.match(bundle.issuer, /^Gatehouse local CA [0-9a-f]{8}$/);
  const leaf = new X509Certificate(bundle.chainPem);
  assert.equal(leaf.serialNumber, bundle.serial);
  assert.equal(leaf.ca, false);
  assert.deepEqual(leaf.keyUsage, ["1.3.6.1.5.5.7.3.1"]);
  const key = createPrivateKey(bundle.keyPem);
  assert.equal(key.asymmetricKeyDetails?.namedCurve, "prime256v1");
  assert.ok(leaf.checkPrivateKey(key));
});

test("serials are positive, of 128 random bits, and never the same; keys are fresh", async (t) => {
  const { start } = await open(t);
  const ca = await start();
  const bundles = await Promise.all(Array.from({ length: 20 }, () => ca.issueLocal(["home.localhost"])));
  assert.equal(new Set(bundles.map(({ serial }) => serial)).size, 20);
  assert.equal(new Set(bundles.map(({ keyPem }) => keyPem)).size, 20);
  for (const { serial } of bundles) assert.match(serial, /^0?1[0-9A-F]{32}$/);
});

test("what it issues is a bundle like any other: stored, loaded, served, trusted", async (t) => {
  const { storage, start } = await open(t);
  const ca = await start();
  const store = createBundleStore(storage);
  const bundle = await ca.issueLocal(["home.localhost"]);
  await store.save(bundle);
  assert.deepEqual(await store.load("home.localhost"), bundle);
  const { port } = await listen(t, chooserFor(["home.localhost"], createContexts({ bundles: [bundle] })));
  assert.equal((await meet(port, { servername: "home.localhost", ca: ca.rootPem() })).authorized, true);
});

test("curl accepts it with --cacert and the printed file, and not without", { skip: needs("curl") }, async (t) => {
  const { start, rootFile } = await open(t);
  const bundle = await (await start()).issueLocal(["home.localhost"]);
  const { port } = await listen(t, chooserFor(["home.localhost"], createContexts({ bundles: [bundle] })));
  const url = `https://home.localhost:${port}/`;
  // The listener speaks no HTTP: 0.9 takes its greeting as the answer.
  const args = ["-sS", "--http0.9", "--resolve", `home.localhost:${port}:127.0.0.1`, "--noproxy", "*", url];
  const trusted = await runProgram("curl", ["--cacert", rootFile, ...args], { withinMs: 10_000 });
  assert.equal(trusted.stdout, "hello\n", trusted.stderr);
  const strange = await runProgram("curl", args, { withinMs: 10_000 });
  assert.equal(strange.code, 60, strange.stderr);
});

test("the root is constrained: no CA below it, nothing but server certificates", openssl, async (t) => {
  const { folder, start, rootFile, keyFile } = await open(t);
  await start();
  const text = (await runProgram("openssl", ["x509", "-in", rootFile, "-noout", "-text"])).stdout;
  assert.match(text, /Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
  assert.match(text, /Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
  assert.match(text, /Extended Key Usage: ?\s+TLS Web Server Authentication\n/);

  // With the root's key stolen: neither a CA of one's own nor a mail certificate is worth anything.
  const root = new x509.X509Certificate(await readFile(rootFile, "utf8"));
  const key = createPrivateKey(await readFile(keyFile));
  const signingKey = key.toCryptoKey(P256, false, ["sign"]);
  const rootPublic = createPublicKey(key).toCryptoKey(P256, true, ["verify"]);
  const sign = async (
    subject: string,
    by: { name: x509.Name; key: webcrypto.CryptoKey; public: webcrypto.CryptoKey },
    extensions: x509.Extension[],
  ) => {
    const keys = await newKeyPair();
    const certificate = await makeCertificate({
      subject,
      issuer: by.name,
      notBefore: Date.now() - 60_000,
      notAfter: Date.now() + DAY_MS,
      publicKey: keys.publicKey,
      signingKey: by.key,
      extensions: [
        ...extensions,
        new x509.SubjectAlternativeNameExtension([{ type: "dns", value: "a.test" }]),
        await x509.AuthorityKeyIdentifierExtension.create(by.public),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return { certificate, keys };
  };
  const byRoot = { name: root.subjectName, key: signingKey, public: rootPublic };

  const mail = await sign("mail", byRoot, [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.emailProtection]),
  ]);
  const mailPem = certificatePem(mail.certificate);
  assert.match(await verify(folder, rootFile, mailPem), /leaf\.pem: OK/, "the signature itself is good");
  assert.match(await verify(folder, rootFile, mailPem, "-purpose", "smimesign"), /CA certificate|purpose/i);

  const rogue = await sign("rogue CA", byRoot, [
    new x509.BasicConstraintsExtension(true, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
  ]);
  const leaf = await sign(
    "leaf",
    { name: rogue.certificate.subjectName, key: rogue.keys.privateKey, public: rogue.keys.publicKey },
    [],
  );
  const middleFile = join(folder, "rogue.pem");
  await writeFile(middleFile, certificatePem(rogue.certificate));
  const told = await verify(folder, rootFile, certificatePem(leaf.certificate), "-untrusted", middleFile);
  assert.match(told, /path length constraint exceeded/);
});

test("the root is made once: a restart and a second process at the same moment have the same one, and 0600 files", async (t) => {
  const { start, replaced, rootFile, keyFile } = await open(t);
  const roots = await Promise.all([start(), start(), start()]);
  const again = await start();
  assert.equal(new Set([...roots, again].map((ca) => ca.rootPem())).size, 1);
  assert.equal(again.rootPem(), await readFile(rootFile, "utf8"));
  assert.deepEqual(replaced, []);
  for (const file of [rootFile, keyFile]) assert.equal((await stat(file)).mode & 0o777, 0o600);
});

test(
  "openssl: a lost or torn root comes back from its key, and devices that trust the old one accept the new leaves",
  openssl,
  async (t) => {
    const { folder, start, replaced, rootFile } = await open(t);
    const oldRoot = (await start()).rootPem();
    const oldFile = join(folder, "old-root.pem");
    await writeFile(oldFile, oldRoot);
    const damages = [
      () => rm(rootFile),
      () => writeFile(rootFile, oldRoot.slice(0, 200)),
      () => writeFile(rootFile, ""),
    ];
    for (const damage of damages) {
      await damage();
      const bundle = await (await start()).issueLocal(["home.localhost"]);
      assert.match(await verify(folder, oldFile, bundle.chainPem), /OK/);
      assert.match(await verify(folder, rootFile, bundle.chainPem), /OK/);
    }
    assert.equal(replaced.length, 2, "a root that was never finished is no replacement; a torn one is");
  },
);

test("a lost or torn key means a new root, and that is said", async (t) => {
  const { start, replaced, keyFile } = await open(t);
  const roots = [(await start()).rootPem()];
  for (const damage of [() => rm(keyFile), () => writeFile(keyFile, "torn")]) {
    await damage();
    const ca = await start();
    roots.push(ca.rootPem());
    const bundle = await ca.issueLocal(["a.test"]);
    assert.ok(new X509Certificate(bundle.chainPem).verify(new X509Certificate(ca.rootPem()).publicKey));
  }
  assert.equal(new Set(roots).size, 3);
  assert.deepEqual(replaced, ["ca/local/key.pem is missing", "ca/local/key.pem cannot be read"]);
});

test("a machine whose clock was in 1970 at the first start gets a root of today once it knows better", async (t) => {
  let now = 3_600_000 * 30;
  const { start, replaced } = await open(t, { now: () => now });
  const ca = await start();
  await ca.issueLocal(["a.test"]);
  now = Date.UTC(2027, 0, 1);
  const bundle = await ca.issueLocal(["a.test"]);
  assert.equal(bundle.notAfter, now + 90 * DAY_MS);
  assert.ok(Date.parse(new X509Certificate(ca.rootPem()).validTo) > now + 9 * 365 * DAY_MS);
  assert.equal(replaced.length, 1);
});

test("no names, no certificate", async (t) => {
  const { start } = await open(t);
  await assert.rejects((await start()).issueLocal([]), /needs a name/);
});

test("the fallback certificate is neutral: invalid, self-signed, P-256, without dates of its own, new at each start", async () => {
  const [one, two] = await Promise.all([createFallback(), createFallback()]);
  const certificate = new X509Certificate(one.certificatePem);
  assert.equal(certificate.subject, "CN=invalid");
  assert.equal(certificate.issuer, "CN=invalid");
  assert.equal(certificate.subjectAltName, undefined);
  assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
  assert.ok(certificate.verify(certificate.publicKey));
  assert.ok(certificate.checkPrivateKey(createPrivateKey(one.keyPem)));
  assert.equal(certificate.validFrom, new X509Certificate(two.certificatePem).validFrom);
  assert.match(certificate.validTo, /9999/);
  assert.notEqual(one.keyPem, two.keyPem);
});
