/**
 * Which certificates are turned away before anything is served from them, and what is in a request for one?
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { caFolder } from "../../src/acme/account.ts";
import { checkCertificate } from "../../src/acme/certificate-check.ts";
import { parseRetryAfter, readProblem } from "../../src/acme/problem.ts";
import { createSigningRequest, generateKeyPem } from "../../src/acme/signing-request.ts";
import { isGatehouseError } from "../../src/core/errors.ts";
import { makeCa } from "../support/certificates.ts";
import { needs, runProgram } from "../support/programs.ts";

const NAME = "home.example.org";
const DAY = 86_400_000;
const ca = await makeCa({ name: "Root", intermediate: true });
const other = await makeCa({ name: "Other root", intermediate: true });
const good = await ca.issue({ names: [NAME] });
const foreign = await other.issue({ names: [NAME] });
const wide = await ca.issue({ names: [NAME, "evil.example.org"] });
const old = await ca.issue({ names: [NAME], notBefore: new Date(Date.now() - 20 * DAY), days: 10 });
const early = await ca.issue({ names: [NAME], notBefore: new Date(Date.now() + 2 * DAY) });

const linked = await ca.issue({ names: [NAME], issuerUrl: "http://ca.example.org/intermediate.crt" });

const leafOf = (pem: string): string => pem.split(/(?=-----BEGIN)/)[0] ?? "";
const restOf = (pem: string): string => pem.slice(leafOf(pem).length);

test("the certificate that was ordered is taken, with its facts", () => {
  const facts = checkCertificate(good.chainPem, { names: [NAME], keyPem: good.keyPem, now: Date.now() });
  assert.deepEqual(facts.names, [NAME]);
  assert.equal(facts.issuer, "Root intermediate");
  assert.equal(facts.notAfter - facts.notBefore, 90 * DAY);
  assert.match(facts.serial, /^[0-9A-F]+$/);
});

test("a whole chain is taken from a CA that says where its certificates are, and a lone leaf from one that has none above", async () => {
  const wanted = { names: [NAME], now: Date.now() };
  checkCertificate(linked.chainPem, { ...wanted, keyPem: linked.keyPem });
  const bare = await (await makeCa({ name: "Root that signs leaves" })).issue({ names: [NAME] });
  checkCertificate(bare.chainPem, { ...wanted, keyPem: bare.keyPem });
});

const bad: [what: string, chain: string, key: string, says: RegExp][] = [
  ["empty", "", good.keyPem, /holds no certificate/],
  ["not PEM", "<html>", good.keyPem, /holds no certificate/],
  ["cut short", good.chainPem.slice(0, -100), good.keyPem, /cut short/],
  ["damaged in the middle", good.chainPem.replace(/\n.{20}/, "\nAAAAAAAAAAAAAAAAAAAA"), good.keyPem, /cannot be read/],
  ["with its key in it", good.chainPem + good.keyPem, good.keyPem, /something else/],
  ["for another key", good.chainPem, foreign.keyPem, /another key/],
  ["with a name nobody ordered", wide.chainPem, wide.keyPem, /nobody ordered: evil\.example\.org/],
  ["expired", old.chainPem, old.keyPem, /has expired/],
  ["not yet valid", early.chainPem, early.keyPem, /begins only/],
  [
    "with somebody else's intermediate",
    leafOf(good.chainPem) + restOf(foreign.chainPem),
    good.keyPem,
    /not signed by certificate 2/,
  ],
  ["in the wrong order", restOf(good.chainPem) + leafOf(good.chainPem), good.keyPem, /lacks home\.example\.org/],
  ["without its chain", leafOf(linked.chainPem), linked.keyPem, /without the intermediate certificate/],
  ["endless", good.chainPem.repeat(20), good.keyPem, /40 certificates/],
];
for (const [what, chain, keyPem, says] of bad) {
  test(`a certificate that is ${what} is turned away`, () => {
    assert.throws(
      () => checkCertificate(chain, { names: [NAME], keyPem, now: Date.now() }),
      (error) => {
        assert.ok(isGatehouseError(error, "GATEHOUSE_ACME_BAD_CERTIFICATE"), String(error));
        assert.match(error.message, says);
        assert.ok(error.hint);
        return true;
      },
    );
  });
}

test(
  "a request is P-256, has an empty subject and the names as its only extension",
  { skip: needs("openssl") },
  async () => {
    const pem = await createSigningRequest([NAME], await generateKeyPem());
    const { stdout, code } = await runProgram("openssl", ["req", "-noout", "-text", "-verify"], { input: pem });
    assert.equal(code, 0);
    assert.match(stdout, /Subject:\s*\n/);
    assert.match(stdout, /NIST CURVE: P-256/);
    assert.deepEqual(stdout.match(/X509v3 [^:\n]+/g), ["X509v3 Subject Alternative Name"]);
    assert.match(stdout, new RegExp(`DNS:${NAME}\\s*\\n`));
  },
);

const retryAfters: [header: string | undefined, ms: number | undefined][] = [
  [undefined, undefined],
  ["", undefined],
  ["soon", undefined],
  ["-5", undefined],
  ["0", 0],
  [" 120 ", 120_000],
  ["999999999", 7 * DAY],
  ["Fri, 01 Jan 2027 00:10:00 GMT", 600_000],
  ["Thu, 31 Dec 2026 00:00:00 GMT", 0],
  ["Fri, 01 Jan 2100 00:00:00 GMT", 7 * DAY],
];
for (const [header, ms] of retryAfters) {
  test(`Retry-After ${JSON.stringify(header)} is ${ms} ms`, () => {
    assert.equal(parseRetryAfter(header, Date.UTC(2027, 0, 1)), ms);
  });
}

test("a problem's words are one line, bounded and free of control characters", () => {
  const { detail, type, subproblems } = readProblem(
    {
      type: "urn:ietf:params:acme:error:dns",
      detail: `a\n\u001b[31mb${"x".repeat(5_000)}`,
      subproblems: [null, { type: "t", identifier: { value: "n" } }],
    },
    400,
  );
  assert.equal(type, "dns");
  assert.ok(detail.length <= 1_001 && detail.startsWith("a [31mb"));
  assert.deepEqual(subproblems, [{ type: "t", detail: "", identifier: "n" }]);
});

const folders: [url: string, folder: string][] = [
  ["https://acme-v02.api.letsencrypt.org/directory", "acme/acme-v02.api.letsencrypt.org"],
  ["https://127.0.0.1:14000/dir", "acme/127.0.0.1_14000@dir"],
  ["https://ca.lan/acme/one/directory", "acme/ca.lan@acme@one@directory"],
  ["https://[::1]:9000/directory", "acme/___1__9000"],
];
for (const [url, folder] of folders) {
  test(`${url} keeps its account under ${folder}`, () => assert.equal(caFolder(url), folder));
}
