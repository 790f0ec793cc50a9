/**
 * Is a name proved by TLS-ALPN-01 (RFC 8737) through the real front, to a real CA, and does nobody else notice?
 */
import assert from "node:assert/strict";
import { X509Certificate, createHash } from "node:crypto";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { connect } from "node:tls";
import { type AlpnChallenges, createAlpnChallenges, serverNameOf } from "../../src/acme/challenges/alpn.ts";
import { createHttpSolver } from "../../src/acme/challenges/solver.ts";
import { systemClock } from "../../src/core/time.ts";
import { type Home, makeHome, noSignal } from "../support/acme-home.ts";
import { eventually } from "../support/eventually.ts";
import { startFront } from "../support/front-home.ts";
import { type Pebble, needsPebble, startPebble } from "../support/pebble.ts";
import { needs, runProgram } from "../support/programs.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { closeOf } from "../support/closing.ts";

interface Port443 {
  home: Home;
  alpn: AlpnChallenges;
  httpsPort: number;
  counted: string[];
}

async function openPort443(t: TestContext): Promise<Port443> {
  const home = await makeHome();
  t.after(() => home.stop());
  const alpn = createAlpnChallenges({ storage: home.storage, clock: systemClock });
  const { httpsPort, counted } = await startFront(t, [siteConfig("a.test", targetConfig(1))], {
    pending: ["pending.test"],
    challengeCertificate: (serverName) => alpn.challengeCertificate(serverName),
  });
  return { home, alpn, httpsPort, counted };
}

const question = (name: string) => ({ name, isWildcard: false, token: "tok", keyAuthorization: "tok.thumb" });

interface Shaken {
  leaf: X509Certificate;
  protocol: string | false | null;
  /** Bytes after the handshake, until the other side closed. */
  received: number;
}

async function shake(port: number, servername: string, ALPNProtocols: string[], version?: "TLSv1.2"): Promise<Shaken> {
  const socket = connect({
    port,
    host: "127.0.0.1",
    servername,
    ALPNProtocols,
    rejectUnauthorized: false,
    ...(version && { maxVersion: version }),
  });
  await once(socket, "secureConnect");
  const leaf = new X509Certificate(socket.getPeerCertificate().raw);
  const protocol = socket.alpnProtocol;
  if (protocol !== "acme-tls/1") {
    socket.destroy();
    return { leaf, protocol, received: 0 };
  }
  socket.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
  socket.on("error", () => {});
  let received = 0;
  socket.on("data", (chunk: Buffer) => (received += chunk.length));
  await closeOf(socket);
  return { leaf, protocol, received };
}

test("who asks for acme-tls/1 alone gets the challenge's certificate and not one byte more", async (t) => {
  const { alpn, httpsPort, counted } = await openPort443(t);
  await alpn.present(question("a.test"), noSignal());
  assert.equal(alpn.wasAsked(question("a.test")), false);
  const { leaf, protocol, received } = await shake(httpsPort, "A.test", ["acme-tls/1"]);
  assert.equal(protocol, "acme-tls/1");
  assert.equal(received, 0);
  assert.equal(leaf.subjectAltName, "DNS:a.test");
  assert.ok(leaf.verify(leaf.publicKey), "self-signed");
  // The extension, critical (01 01 ff), and an OCTET STRING in an OCTET STRING (RFC 8737 §3).
  const digest = createHash("sha256").update("tok.thumb").digest("hex");
  assert.match(leaf.raw.toString("hex"), new RegExp(`06082b0601050507011f0101ff04220420${digest}`));
  assert.equal(alpn.wasAsked(question("a.test")), true);
  await eventually("the handshake is counted", () => counted.includes("handshake(https,…,challenge)"));
});

test("who asks for anything besides, or instead, is an ordinary client while a challenge is open", async (t) => {
  const { alpn, httpsPort } = await openPort443(t);
  await alpn.present(question("a.test"), noSignal());
  for (const protocols of [["acme-tls/1", "h2"], ["http/1.1", "acme-tls/1"], ["h2"], []]) {
    const { leaf, protocol } = await shake(httpsPort, "a.test", protocols);
    assert.match(leaf.subjectAltName ?? "", /DNS:a\.test, DNS:b\.test/, protocols.join());
    assert.notEqual(protocol, "acme-tls/1");
  }
  await assert.rejects(shake(httpsPort, "a.test", ["ftp"]), /no_application_protocol|NO_APPLICATION_PROTOCOL|alert/i);
});

test("without an open challenge, or after its end, acme-tls/1 gets no handshake; with one, by TLS 1.2 as well", async (t) => {
  const { alpn, httpsPort } = await openPort443(t);
  await assert.rejects(shake(httpsPort, "a.test", ["acme-tls/1"]));
  await alpn.present(question("a.test"), noSignal());
  await assert.rejects(shake(httpsPort, "b.test", ["acme-tls/1"]));
  // RFC 8737 §3 asks for TLS 1.2 or higher.
  const older = await shake(httpsPort, "a.test", ["acme-tls/1"], "TLSv1.2");
  assert.deepEqual([older.protocol, older.leaf.subjectAltName, older.received], ["acme-tls/1", "DNS:a.test", 0]);
  await alpn.remove({ ...question("a.test"), token: "another" });
  assert.equal((await shake(httpsPort, "a.test", ["acme-tls/1"])).protocol, "acme-tls/1");
  await alpn.remove(question("a.test"));
  await assert.rejects(shake(httpsPort, "a.test", ["acme-tls/1"]));
});

test("another process on the same state folder answers, too, until the challenge is removed or has expired", async (t) => {
  const home = await makeHome();
  t.after(() => home.stop());
  let now = Date.now();
  const open = () => createAlpnChallenges({ storage: home.storage, clock: { now: () => now } });
  const [one, other] = [open(), open()];
  await one.present(question("a.test"), noSignal());
  assert.deepEqual(await other.challengeCertificate("a.test"), await one.challengeCertificate("a.test"));
  for (const odd of ["../a.test", "a/b", "", ".", "x".repeat(300)]) {
    assert.equal(await other.challengeCertificate(odd), undefined);
  }
  now += 8 * 86_400_000;
  assert.equal(await other.challengeCertificate("a.test"), undefined);
  await other.sweep();
  assert.deepEqual(await home.storage.list("acme/alpn"), []);
});

const reverseNames: [name: string, asked: string][] = [
  ["a.test", "a.test"],
  ["192.0.2.1", "1.2.0.192.in-addr.arpa"],
  ["2001:db8::1", `1.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`],
  ["::ffff:192.0.2.1", `1.0.2.0.0.0.0.c.f.f.f.f.${"0.".repeat(20)}ip6.arpa`],
];
for (const [name, asked] of reverseNames) {
  test(`a CA asks for ${name} by the server name ${asked}`, () => assert.equal(serverNameOf(name), asked));
}

test("openssl reads the extension as critical", { skip: needs("openssl") }, async (t) => {
  const { alpn, httpsPort } = await openPort443(t);
  await alpn.present(question("a.test"), noSignal());
  const words = `s_client -connect 127.0.0.1:${httpsPort} -servername a.test -alpn acme-tls/1`;
  const shaken = await runProgram("openssl", words.split(" "));
  assert.match(shaken.stdout, /ALPN protocol: acme-tls\/1/);
  const text = await runProgram("openssl", ["x509", "-noout", "-text"], { input: shaken.stdout });
  assert.match(text.stdout, /1\.3\.6\.1\.5\.5\.7\.1\.31: critical/);
});

async function withPebble(t: TestContext): Promise<Port443 & { pebble: Pebble }> {
  const port443 = await openPort443(t);
  return {
    ...port443,
    pebble: await startPebble(t, { httpPort: port443.home.httpPort, tlsPort: port443.httpsPort }),
  };
}

test("a real CA signs by port 443 alone", { skip: needsPebble }, async (t) => {
  const { home, alpn, pebble } = await withPebble(t);
  const bundle = await home.issuer(pebble, { solvers: [alpn] }).issue("pending.test", "first", noSignal());
  assert.deepEqual(bundle.names, ["pending.test"]);
  assert.deepEqual(await home.storage.list("acme/alpn"), []);
  const chosen = home.lines.find(({ event }) => event === "acme.challenge.chosen");
  assert.match(String(chosen?.["why"]), /port 443 is enough/);
});

test(
  "where port 80 answers wrongly, port 443 is taken at once, and first the next time",
  { skip: needsPebble },
  async (t) => {
    const { home, alpn, pebble } = await withPebble(t);
    home.answerWith(() => Promise.resolve("<html>my router</html>"));
    const issuer = () => home.issuer(pebble, { solvers: [createHttpSolver(home.challenges), alpn] });
    const first = await issuer().issue("pending.test", "first", noSignal());
    assert.equal(pebble.orders(), 2);
    assert.ok(home.lines.some(({ event }) => event === "acme.challenge.failed"));
    const chosen = (): unknown[] =>
      home.lines.filter(({ event }) => event === "acme.challenge.chosen").map((line) => line["challenge"]);
    // Pebble reuses a proof now and then: then nothing is chosen.
    let more = 0;
    while (more === 0 || (chosen().length === 2 && more < 5)) {
      const next = await issuer().issue("pending.test", "asked", noSignal());
      assert.notEqual(next.serial, first.serial);
      more++;
    }
    assert.equal(pebble.orders(), 2 + more);
    assert.deepEqual(chosen(), ["http-01", "tls-alpn-01", "tls-alpn-01"]);
  },
);

test(
  "where both ports answer wrongly, the second failure is the last of this try",
  { skip: needsPebble },
  async (t) => {
    const { home, alpn, pebble } = await withPebble(t);
    home.answerWith(() => Promise.resolve("<html>my router</html>"));
    const lying = { ...alpn, present: async () => {} };
    const issuer = home.issuer(pebble, { solvers: [createHttpSolver(home.challenges), lying] });
    await assert.rejects(issuer.issue("pending.test", "first", noSignal()), /by tls-alpn-01: .*port 443/);
    assert.equal(pebble.orders(), 2);
    await assert.rejects(issuer.issue("pending.test", "first", noSignal()), /by http-01/);
    assert.equal(pebble.orders(), 3);
  },
);
