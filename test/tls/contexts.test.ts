/**
 * Secure contexts: bounded, swapped whole, and with the settings that Mozilla calls intermediate; openssl judges.
 */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { writeFile } from "node:fs/promises";
import { setImmediate as turn } from "node:timers/promises";
import { isGatehouseError } from "../../src/core/errors.ts";
import { tlsSettings } from "../../src/core/tls-settings.ts";
import type { CertificateBundle } from "../../src/storage/bundles.ts";
import { createContexts } from "../../src/tls/contexts.ts";
import { createTicketKeys } from "../../src/tls/tickets.ts";
import { type TestCa, makeCa } from "../support/certificates.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";
import { chooserFor, listen, meet } from "./listener.ts";

const NAME = "home.test";
let ca: TestCa;
let bundle: CertificateBundle;
before(async () => {
  ca = await makeCa({ intermediate: true });
  bundle = await ca.issueBundle({ names: [NAME] });
});

test("10,000 names cost no more contexts than the bound, and each still gets its own", () => {
  const bundles = Array.from({ length: 10_000 }, (_, each) => ({ ...bundle, name: `n${each}.test` }));
  const contexts = createContexts({ bundles, max: 50 });
  assert.equal(contexts.preparedCount(), 0, "nothing is made before it is asked for");
  for (let each = 0; each < 10_000; each += 7) assert.ok(contexts.find(`n${each}.test`));
  assert.equal(contexts.preparedCount(), 50);
  assert.equal(contexts.find("n10000.test"), undefined);
  assert.equal(contexts.find("n9996.test"), contexts.find("n9996.test"), "a prepared one is used again");
});

test("a bundle that OpenSSL refuses leaves the one before it in place", () => {
  const contexts = createContexts();
  contexts.setBundle(bundle);
  const before = contexts.find(NAME);
  for (const wrong of [{ chainPem: "garbage" }, { keyPem: "garbage" }]) {
    assert.throws(
      () => contexts.setBundle({ ...bundle, ...wrong }),
      (error) => isGatehouseError(error, "GATEHOUSE_BUNDLE_DAMAGED"),
    );
  }
  assert.equal(contexts.find(NAME), before);
  assert.equal(contexts.bundle(NAME), bundle);
});

test("those who bring a ticket have a context of their own, and get a new certificate like the others", async () => {
  const contexts = createContexts({ bundles: [bundle] });
  const [without, withTicket] = [contexts.find(NAME), contexts.find(NAME, true)];
  assert.ok(without !== undefined && withTicket !== undefined && without !== withTicket);
  assert.equal(contexts.find(NAME, true), withTicket);
  const next = await ca.issueBundle({ names: [NAME] });
  for (const change of [() => contexts.setBundle(next), () => contexts.renew(NAME)]) {
    const before = [contexts.find(NAME), contexts.find(NAME, true)];
    change();
    assert.notEqual(contexts.find(NAME), before[0]);
    assert.notEqual(contexts.find(NAME, true), before[1]);
  }
});

test("a removed name has neither bundle nor context", () => {
  const contexts = createContexts({ bundles: [bundle] });
  contexts.find(NAME);
  contexts.find(NAME, true);
  assert.equal(contexts.preparedCount(), 2);
  contexts.remove(NAME);
  assert.equal(contexts.find(NAME), undefined);
  assert.equal(contexts.find(NAME, true), undefined);
  assert.equal(contexts.bundle(NAME), undefined);
  assert.equal(contexts.preparedCount(), 0);
});

test("1,000 swaps under handshakes fail none, and each sees one of the certificates, valid", async (t) => {
  const bundles = await Promise.all(Array.from({ length: 10 }, () => ca.issueBundle({ names: [NAME] })));
  const serials = new Set(bundles.map(({ serial }) => serial));
  const contexts = createContexts({ bundles });
  const { port } = await listen(t, chooserFor([NAME], contexts));
  const swapping = new AbortController();
  const seen = new Map<string, number>();
  const client = async (): Promise<void> => {
    while (!swapping.signal.aborted) {
      const met = await meet(port, { servername: NAME, ca: ca.caPem });
      assert.ok(met.authorized);
      seen.set(met.serial, (seen.get(met.serial) ?? 0) + 1);
    }
  };
  const clients = Promise.all([client(), client(), client()]);
  for (let swap = 0; swap < 1_000; swap++) {
    contexts.setBundle(bundles[swap % bundles.length] ?? bundle);
    await turn();
  }
  swapping.abort();
  await clients;
  assert.ok(seen.size > 1, "the swaps were not seen");
  for (const serial of seen.keys()) assert.ok(serials.has(serial));
});

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  const pinned = { servername: NAME, minVersion: version, maxVersion: version };

  test(`${version}: a ticket is good at every listener with the key, also after a certificate swap, and not after a rotation`, async (t) => {
    const contexts = createContexts({ bundles: [bundle] });
    const chooser = chooserFor([NAME, "other.test"], contexts);
    contexts.setBundle({ ...(await ca.issueBundle({ names: ["other.test"] })) });
    const rotated: Buffer[] = [];
    const keys = createTicketKeys({ onRotate: (key) => rotated.push(key) });
    t.after(() => keys.stop());
    const one = await listen(t, chooser, { ticketKeys: keys.current() });
    const two = await listen(t, chooser, { ticketKeys: keys.current() });

    const { session } = await meet(one.port, pinned);
    assert.ok(session);
    assert.equal((await meet(one.port, { ...pinned, session })).reused, true, "same listener");
    assert.equal((await meet(two.port, { ...pinned, session })).reused, true, "another worker");
    assert.equal((await meet(one.port, { ...pinned, session, servername: "other.test" })).reused, false, "other name");

    contexts.setBundle(await ca.issueBundle({ names: [NAME] }));
    assert.equal((await meet(one.port, { ...pinned, session })).reused, true, "after a swap");

    keys.rotate();
    one.server.setTicketKeys(rotated[0] ?? Buffer.alloc(0));
    const met = await meet(one.port, { ...pinned, session, ca: ca.caPem });
    assert.equal(met.reused, false, "after a rotation");
    assert.equal(met.authorized, true, "a full handshake, no error");
    assert.equal((await meet(two.port, { ...pinned, session })).reused, true, "a worker that has not heard of it yet");
  });
}

const openssl = { skip: needs("openssl") };

/** The server's answer to openssl's client with these options. */
async function shake(port: number, ...args: string[]): Promise<string> {
  const all = ["s_client", "-connect", `127.0.0.1:${port}`, "-servername", NAME, ...args];
  const { stdout, stderr } = await runProgram("openssl", all, { withinMs: 10_000 });
  return `${stdout}${stderr}`;
}

const settings: [what: string, args: string[], answer: RegExp][] = [
  ["TLS 1.0 is refused", ["-tls1", "-cipher", "ALL@SECLEVEL=0"], /alert protocol version|no protocols available/],
  ["TLS 1.1 is refused", ["-tls1_1", "-cipher", "ALL@SECLEVEL=0"], /alert protocol version|no protocols available/],
  ["TLS 1.2 is spoken", ["-tls1_2"], /Cipher is ECDHE-ECDSA-AES\d+-GCM/],
  ["TLS 1.3 is spoken", ["-tls1_3"], /New, TLSv1\.3/],
  ...["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"].map(
    (suite): [string, string[], RegExp] => [
      `${suite} is spoken`,
      ["-tls1_2", "-cipher", suite],
      new RegExp(`is ${suite}`),
    ],
  ),
  ...["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"].map(
    (suite): [string, string[], RegExp] => [
      `${suite} is spoken`,
      ["-tls1_3", "-ciphersuites", suite],
      new RegExp(`is ${suite}`),
    ],
  ),
  [
    "CBC is refused",
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA"],
    /alert handshake failure/,
  ],
  [
    "no suite without forward secrecy",
    ["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA"],
    /alert handshake failure/,
  ],
  [
    "the client's order of suites counts",
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"],
    /is ECDHE-ECDSA-CHACHA20/,
  ],
  ["X25519", ["-groups", "X25519"], /Server Temp Key: X25519/],
  ["P-256", ["-groups", "P-256"], /Server Temp Key: ECDH, prime256v1/],
  ["P-384", ["-groups", "P-384"], /Server Temp Key: ECDH, secp384r1/],
  ["P-521 is refused", ["-groups", "P-521"], /alert handshake failure/],
  ["P-521 is refused in TLS 1.2, too", ["-tls1_2", "-groups", "P-521"], /alert handshake failure/],
];

for (const [what, args, answer] of settings) {
  test(`openssl, with a certificate chosen by SNI: ${what}`, openssl, async (t) => {
    const { port } = await listen(t, chooserFor([NAME], createContexts({ bundles: [bundle] })));
    assert.match(await shake(port, ...args), answer);
  });
}

test("openssl: the chain that is sent verifies against the root alone", openssl, async (t) => {
  const { port } = await listen(t, chooserFor([NAME], createContexts({ bundles: [bundle] })));
  const folder = await temporaryFolder(t);
  await writeFile(`${folder}/root.pem`, ca.caPem);
  const answer = await shake(port, "-CAfile", `${folder}/root.pem`, "-verify_return_error", "-verify_hostname", NAME);
  assert.match(answer, /Verify return code: 0 \(ok\)/);
  assert.match(answer, /Verified peername: home\.test|Verification: OK/);
});

test("openssl: a client's wish to renegotiate is refused", openssl, async (t) => {
  const { port } = await listen(t, chooserFor([NAME], createContexts({ bundles: [bundle] })), { keepOpen: true });
  const args = ["s_client", "-connect", `127.0.0.1:${port}`, "-servername", NAME, "-tls1_2"];
  const { stdout, stderr } = await runProgram("openssl", args, { input: "R\n", withinMs: 10_000 });
  assert.match(`${stdout}${stderr}`, /RENEGOTIATING[\s\S]*no renegotiation/);
});

test(
  "the post-quantum group is what two ends that know it agree on",
  { skip: !tlsSettings.ecdhCurve.includes("MLKEM") && "needs a Node with OpenSSL 3.5" },
  async (t) => {
    const { port } = await listen(t, chooserFor([NAME], createContexts({ bundles: [bundle] })));
    const met = await meet(port, { servername: NAME, ecdhCurve: "X25519MLKEM768" });
    assert.equal(met.protocol, "TLSv1.3");
  },
);
