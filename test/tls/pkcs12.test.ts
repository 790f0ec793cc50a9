/**
 * PKCS#12: what others write is read, and what is written here others read: OpenSSL, and the store of Firefox and Chromium.
 */
import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isGatehouseError } from "../../src/core/errors.ts";
import { readPkcs12, writePkcs12 } from "../../src/tls/pkcs12.ts";
import { makeCa } from "../support/certificates.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";

const needsOpenssl = needs("openssl");
const FORMATS = ["compatible", "modern"] as const;

async function run(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram(program, args);
  assert.equal(code, 0, `${program} ${args.join(" ")}\n${stderr}\n${stdout}`);
  return stdout;
}

/** How OpenSSL 3 writes it by default, as OpenSSL 1 and Windows did, and without any protection of the certificates. */
const writers: [how: string, ...args: string[]][] = [
  ["AES-256, its default"],
  ["three-key DES", "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"],
  ["certificates in the open", "-certpbe", "NONE"],
  ["no rounds of the MAC", "-nomaciter"],
];

for (const [how, ...args] of writers) {
  for (const kind of ["ec", "rsa"]) {
    test(`a file of OpenSSL is read: ${how}, ${kind} key`, { skip: needsOpenssl }, async (t) => {
      const folder = await temporaryFolder(t);
      const [key, cert, p12] = ["key.pem", "cert.pem", "x.p12"].map((file) => join(folder, file)) as [
        string,
        string,
        string,
      ];
      const newKey = kind === "ec" ? ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] : ["rsa:2048"];
      const subject = ["-nodes", "-subj", "/CN=a.test", "-days", "2", "-keyout", key, "-out", cert];
      await run("openssl", "req", "-x509", "-newkey", ...newKey, ...subject);
      await run(
        "openssl",
        "pkcs12",
        "-export",
        "-inkey",
        key,
        "-in",
        cert,
        "-out",
        p12,
        "-passout",
        "pass:geheim",
        ...args,
      );
      const { keyPem, certificates } = readPkcs12(await readFile(p12), "geheim");
      assert.ok(createPrivateKey(keyPem ?? "").equals(createPrivateKey(await readFile(key))));
      assert.deepEqual(
        certificates.map(({ fingerprint256 }) => fingerprint256),
        [new X509Certificate(await readFile(cert)).fingerprint256],
      );
    });
  }
}

for (const format of FORMATS) {
  test(`OpenSSL opens what is written here, ${format}`, { skip: needsOpenssl }, async (t) => {
    const p12 = join(await temporaryFolder(t), "x.p12");
    const ca = await makeCa({ intermediate: true });
    const { keyPem, chainPem } = await ca.issue({ names: ["a.test"] });
    await writeFile(p12, writePkcs12({ keyPem, chainPem, password: "geheim", label: "a.test", format }));
    const opened = await run("openssl", "pkcs12", "-in", p12, "-passin", "pass:geheim", "-nodes");
    assert.equal(opened.match(/BEGIN CERTIFICATE/g)?.length, 2);
    assert.match(opened, /friendlyName: a\.test/);
    const key = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----/.exec(opened)?.[0] ?? "";
    assert.ok(createPrivateKey(key).equals(createPrivateKey(keyPem)));
    const wrong = await runProgram("openssl", ["pkcs12", "-in", p12, "-passin", "pass:other", "-nodes"]);
    assert.notEqual(wrong.code, 0);
  });

  test(
    `the store of Chromium and Firefox imports it, ${format}`,
    { skip: needs("pk12util", "libnss3-tools") },
    async (t) => {
      const folder = await temporaryFolder(t);
      const ca = await makeCa();
      const { keyPem, chainPem } = await ca.issue({ names: ["a.test"] });
      const p12 = join(folder, "x.p12");
      await writeFile(p12, writePkcs12({ keyPem, chainPem, password: "geheim", label: "my phone", format }));
      await run("certutil", "-N", "-d", `sql:${folder}`, "--empty-password");
      await run("pk12util", "-i", p12, "-d", `sql:${folder}`, "-W", "geheim");
      // `u`: a certificate whose key is there.
      assert.match(await run("certutil", "-L", "-d", `sql:${folder}`), /^my phone\s+u,u,u$/m);
    },
  );

  test(`what is written is read again, whatever letters the password has, ${format}`, async () => {
    const ca = await makeCa({ intermediate: true });
    const { keyPem, chainPem } = await ca.issue({ names: ["a.test"] });
    for (const password of ["geheim", "gehëim", "비밀번호", ""]) {
      const bytes = writePkcs12({ keyPem, chainPem, password, label: "Müller’s 전화", format });
      const back = readPkcs12(bytes, password);
      assert.equal(back.keyPem, keyPem);
      assert.equal(back.certificates.map(String).join(""), chainPem.replaceAll("\r", ""));
      assert.throws(
        () => readPkcs12(bytes, `${password}x`),
        (error) => isGatehouseError(error, "GATEHOUSE_IMPORT_PASSWORD"),
      );
    }
  });
}

test("what is no PKCS#12 is said to be none, wherever it is cut", async () => {
  const ca = await makeCa();
  const { keyPem, chainPem } = await ca.issue({ names: ["a.test"] });
  const whole = writePkcs12({ keyPem, chainPem, password: "x", label: "x", format: "compatible" });
  const cases: Uint8Array[] = [
    Buffer.alloc(0),
    Buffer.from("0"),
    Buffer.from([0x30, 0x80]),
    Buffer.from("hello"),
    new X509Certificate(chainPem).raw,
  ];
  for (let at = 1; at < whole.length; at += 97) cases.push(whole.subarray(0, at));
  for (const bytes of cases) {
    assert.throws(
      () => readPkcs12(bytes, "x"),
      (error) => isGatehouseError(error) && error.code.startsWith("GATEHOUSE_IMPORT_"),
    );
  }
});
