/**
 * A site with certificate files of its own, in the whole program: served, watched, given up and taken back.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { makeCa } from "../support/certificates.ts";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { certificateShown } from "../support/tls-client.ts";

/** SHA-256 of what is shown, or why nothing is. */
const shown = (port: number, servername: string): Promise<string> =>
  certificateShown({ port, servername }).then(
    ({ fingerprint256 }) => fingerprint256,
    (error: NodeJS.ErrnoException) => error.code ?? "",
  );

for (const workers of [1, 2]) {
  test(`files are waited for, served, swapped and given up, with ${workers} process(es)`, async (t) => {
    const folder = await temporaryFolder(t);
    const ca = await makeCa({ intermediate: true });
    const [first, second] = await Promise.all([1, 2].map(() => ca.issue({ names: ["nas.lan"] })));
    assert.ok(first !== undefined && second !== undefined);
    const print = ({ chainPem }: { chainPem: string }): string => new X509Certificate(chainPem).fingerprint256;
    const lay = async ({ chainPem, keyPem }: { chainPem: string; keyPem: string }) => {
      await writeFile(join(folder, "cert.pem"), chainPem);
      await writeFile(join(folder, "key.pem"), keyPem);
    };
    const sites = (tls: string) =>
      configText(folder, `workers: ${workers}\nsites:\n  nas.lan: { to: demo${tls} }\n  home.localhost: demo\n`);
    const gatehouse = await startGatehouse(t, { folder, config: sites(", tls: { cert: cert.pem, key: key.pem }") });
    const becomes = async (expected: string) => {
      const until = performance.now() + 60_000;
      for (;;) {
        const now = await shown(gatehouse.httpsPort, "nas.lan");
        if (now === expected) return;
        assert.ok(performance.now() < until, `${now} is shown, not ${expected}`);
        await pause(20);
      }
    };

    // Nothing is there: this site waits, the other one serves.
    const refused = await gatehouse.line("certificate.files_refused");
    assert.deepEqual(
      [refused["name"], refused["code"], refused["isServing"]],
      ["nas.lan", "GATEHOUSE_FILES_UNUSABLE", false],
    );
    await gatehouse.line("certificate.issued", ({ name }) => name === "home.localhost");
    assert.notEqual(await shown(gatehouse.httpsPort, "home.localhost"), "");
    await becomes("ERR_SSL_TLSV1_UNRECOGNIZED_NAME");

    await lay(first);
    await becomes(print(first));
    await lay(second);
    await becomes(print(second));
    await writeFile(join(folder, "key.pem"), first.keyPem);
    await gatehouse.line("certificate.files_refused", ({ isServing }) => isServing === true);
    assert.equal(await shown(gatehouse.httpsPort, "nas.lan"), print(second));

    const listed = JSON.parse((await gatehouse.cli("ls", "--json")).stdout) as {
      certificates: Record<string, unknown>[];
    };
    const line = listed.certificates.find(({ name }) => name === "nas.lan");
    assert.deepEqual([line?.["state"], line?.["hasOwnFiles"], line?.["nextTry"]], ["valid", true, null]);
    assert.match(String(line?.["lastError"]), /private key is not the key/);
    const issue = await gatehouse.cli("issue", "nas.lan");
    assert.equal(issue.code, 1);
    assert.match(issue.stderr, /has certificate files of its own/);
    assert.equal((await gatehouse.cli("issue", "--all")).code, 0, "the others are meant");

    // Without tls: it gets a certificate here, and with it the files are back.
    await writeFile(gatehouse.configFile, sites(""));
    await gatehouse.line("certificate.issued", ({ name }) => name === "nas.lan", 60_000);
    const stored = join(folder, "state/certs/nas.lan");
    const generation = (await readFile(join(stored, "current"), "utf8")).trim();
    await becomes(print({ chainPem: await readFile(join(stored, generation, "chain.pem"), "utf8") }));
    await lay(first);
    await writeFile(gatehouse.configFile, sites(", tls: { cert: cert.pem, key: key.pem }"));
    await becomes(print(first));
    assert.equal(await gatehouse.stop(), 0);
  });
}
