/**
 * certbot and Gatehouse ask the same CA for the same name: the same answer; and what certbot has is taken over.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { connect } from "node:tls";
import { pemCertificates } from "../../src/tls/pem.ts";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";
import { needs, runProgram } from "../support/programs.ts";
import { freePort } from "../support/target.ts";

const NAME = "home.example.org";

/** What a client learns of it, but for what differs from one certificate to the next. */
function character(chainPem: string): Record<string, unknown> {
  const chain = pemCertificates(chainPem);
  const [leaf] = chain;
  assert.ok(leaf !== undefined);
  return {
    names: leaf.subjectAltName,
    key: [leaf.publicKey.asymmetricKeyType, leaf.publicKey.asymmetricKeyDetails],
    purposes: leaf.keyUsage,
    issuers: chain.map(({ issuer }) => issuer),
    above: chain.slice(1).map(({ fingerprint256 }) => fingerprint256),
    life: leaf.validToDate.getTime() - leaf.validFromDate.getTime(),
  };
}

test(
  "certbot and Gatehouse get the same answer from one CA, and certbot's folder is imported and served",
  { skip: needsPebble || needs("certbot") },
  async (t) => {
    const folder = await temporaryFolder(t);
    const httpPort = await freePort();
    const pebble = await startPebble(t, { httpPort });
    const caFile = join(folder, "ca.pem");
    await writeFile(caFile, pebble.caPem);
    const letsencrypt = join(folder, "letsencrypt");
    const places = [
      "--config-dir",
      letsencrypt,
      "--work-dir",
      join(folder, "work"),
      "--logs-dir",
      join(folder, "logs"),
    ];
    const order = ["--standalone", "--http-01-address", "127.0.0.1", "--http-01-port", String(httpPort), "-d", NAME];
    const certbot = await runProgram(
      "certbot",
      [
        "certonly",
        "--non-interactive",
        "--agree-tos",
        "--register-unsafely-without-email",
        "--server",
        pebble.directoryUrl,
        ...places,
        ...order,
      ],
      { env: { ...process.env, REQUESTS_CA_BUNDLE: caFile }, withinMs: 120_000 },
    );
    assert.equal(certbot.code, 0, `${certbot.stderr}\n${certbot.stdout}\n${pebble.log()}`);

    const config = configText(
      folder,
      `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${caFile}" }\nsites: { ${NAME}: demo }\n`,
    ).replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${httpPort}"`);
    const gatehouse = await startGatehouse(t, { folder, config });
    await gatehouse.line("certificate.issued", undefined, 60_000);
    const ours = await gatehouse.cli("export", NAME, "-");
    assert.equal(ours.code, 0, ours.stderr);
    const orders = pebble.orders();

    const imported = await gatehouse.cli("import", letsencrypt, "--force");
    assert.equal(imported.code, 0, imported.stderr);
    const theirs = await gatehouse.cli("export", NAME, "-");
    assert.notEqual(theirs.stdout, ours.stdout);
    assert.deepEqual(character(theirs.stdout), character(ours.stdout));

    const socket = connect({
      port: gatehouse.httpsPort,
      host: "127.0.0.1",
      servername: NAME,
      ca: await pebble.rootPem(),
    });
    await once(socket, "secureConnect");
    const served = socket.getPeerX509Certificate();
    socket.destroy();
    assert.equal(
      served?.serialNumber,
      new X509Certificate(theirs.stdout.slice(theirs.stdout.indexOf("-----BEGIN CERT"))).serialNumber,
    );
    assert.equal(pebble.orders(), orders, "it came from the CA in use, so nothing was due");
    const listed = JSON.parse((await gatehouse.cli("show", NAME, "--json")).stdout) as { ca: string };
    assert.equal(listed.ca, pebble.directoryUrl);
    assert.equal(await gatehouse.stop(), 0);
  },
);
