/**
 * Sites for devices with a certificate: by every lane and both versions of TLS, with nothing that leads around it.
 */
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { type ClientHttp2Session, connect as connectH2 } from "node:http2";
import { before, test, type TestContext } from "node:test";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { eventually } from "../support/eventually.ts";
import { type Issued, makeCa } from "../support/certificates.ts";
import { type FrontHome, startFront } from "../support/front-home.ts";
import { needs, runProgram } from "../support/programs.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";
import { startTarget } from "../support/target.ts";

const CLAIM = 'Hash=00;Subject="CN=boss"';

let anna: Issued;
let stranger: Issued;
before(async () => {
  const ca = await makeCa();
  [anna, stranger] = (await Promise.all(["anna", "stranger"].map((name) => ca.issue({ names: [name] })))) as [
    Issued,
    Issued,
  ];
});

const sha256 = ({ chainPem }: Issued): string =>
  createHash("sha256").update(new X509Certificate(chainPem).raw).digest("hex");

interface House extends FrontHome {
  /** What the target was told of the device; undefined when it was told nothing. */
  told: (string | undefined)[];
  accepted: Map<string, string>;
}

async function house(t: TestContext): Promise<House> {
  const told: (string | undefined)[] = [];
  const note = (headers: NodeJS.Dict<string | string[]>): void => {
    told.push(headers["x-forwarded-client-cert"] as string | undefined);
  };
  const target = await startTarget(t, (request, response) => {
    note(request.headers);
    response.end("inside");
  });
  target.server.on("upgrade", (request, socket) => {
    note(request.headers);
    socket.on("error", () => {});
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    socket.on("end", () => socket.end());
  });
  const to = targetConfig(target.port);
  const sites = [
    siteConfig("a.test", to, { clientCert: "required" }),
    siteConfig("b.test", to, { clientCert: "optional" }),
    siteConfig("home.localhost", to),
    siteConfig("*.lab.test", to),
    siteConfig("secret.lab.test", to, { clientCert: "required" }),
  ];
  const accepted = new Map([[sha256(anna), "anna"]]);
  return { ...(await startFront(t, sites, { deviceOwner: (hash) => accepted.get(hash) })), told, accepted };
}

async function open(
  t: TestContext,
  port: number,
  options: ConnectionOptions & { as?: Issued | undefined },
): Promise<TLSSocket> {
  const { as, ...rest } = options;
  const own = as === undefined ? {} : { key: as.keyPem, cert: as.chainPem };
  const socket = connect({
    port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    ALPNProtocols: ["http/1.1"],
    ...own,
    ...rest,
  });
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  return socket;
}

/** Sends one request and gives the status of what comes. */
async function ask(socket: TLSSocket, host: string, fields = ""): Promise<number> {
  socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nX-Forwarded-Client-Cert: ${CLAIM}\r\n${fields}\r\n`);
  let text = "";
  while (!text.includes("\r\n\r\n")) text += String(((await once(socket, "data")) as [Buffer])[0]);
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]);
}

async function askH2(
  t: TestContext,
  socket: TLSSocket,
  host: string,
  fields: Record<string, string> = {},
): Promise<number> {
  const session: ClientHttp2Session = connectH2(`https://${host}`, { createConnection: () => socket });
  t.after(() => session.destroy());
  session.on("error", () => {});
  const request = session.request({ ":path": "/", "x-forwarded-client-cert": CLAIM, ...fields });
  request.on("error", () => {});
  const [headers] = (await once(request, "response")) as [NodeJS.Dict<string>];
  request.close();
  return Number(headers[":status"]);
}

type Lane = (
  t: TestContext,
  home: House,
  name: string,
  options: ConnectionOptions & { as?: Issued | undefined },
) => Promise<number>;

const h1 =
  (fields = ""): Lane =>
  async (t, home, name, options) =>
    ask(await open(t, home.httpsPort, { servername: name, ...options }), name, fields);
const h2 =
  (fields: Record<string, string> = {}): Lane =>
  async (t, home, name, options) =>
    askH2(t, await open(t, home.httpsPort, { servername: name, ALPNProtocols: ["h2"], ...options }), name, fields);

const lanes: [name: string, lane: Lane, served: number][] = [
  ["the fast lane", h1(), 200],
  ["the compat lane", h1("TE: trailers\r\nConnection: TE\r\n"), 200],
  ["an upgrade", h1("Connection: Upgrade\r\nUpgrade: echo\r\n"), 101],
  ["HTTP/2", h2(), 200],
  ["HTTP/2, judged with care", h2({ te: "trailers" }), 200],
];

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  for (const [lane, visit, served] of lanes) {
    test(`${lane} over ${version}: who has no accepted certificate meets 403, who has one is named to the target`, async (t) => {
      const home = await house(t);
      const versions = { minVersion: version, maxVersion: version };
      const cases: [name: string, as: Issued | undefined, status: number, told: string | undefined][] = [
        ["a.test", undefined, 403, undefined],
        ["a.test", stranger, 403, undefined],
        ["a.test", anna, served, "anna"],
        ["b.test", undefined, served, undefined],
        ["b.test", stranger, served, undefined],
        ["b.test", anna, served, "anna"],
        ["home.localhost", anna, served, undefined],
      ];
      for (const [name, as, status, owner] of cases) {
        home.told.length = 0;
        const title = `${name} with ${as?.names[0] ?? "none"}`;
        assert.equal(await visit(t, home, name, { as, ...versions }), status, title);
        const expected = owner === undefined ? undefined : `Hash=${sha256(anna)};Subject="CN=${owner}"`;
        assert.deepEqual(home.told, status === 403 ? [] : [expected], title);
      }
    });
  }
}

test("a 403 is an answer in words, and the connection stays fit for the next request", async (t) => {
  const home = await house(t);
  const socket = await open(t, home.httpsPort, { servername: "a.test" });
  socket.write("GET / HTTP/1.1\r\nHost: a.test\r\nAccept: application/json\r\n\r\n");
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.match(String(answer), /^HTTP\/1\.1 403 Forbidden\r\n[^]*This device has shown none that is accepted/);
});

for (const [version, alpn] of [
  ["HTTP/1.1", "http/1.1"],
  ["HTTP/2", "h2"],
] as const) {
  test(`over ${version} the connection of another name does not lead in: 421, whatever it has shown`, async (t) => {
    const home = await house(t);
    const visit = async (servername: string, host: string, as: Issued | undefined) => {
      const socket = await open(t, home.httpsPort, { servername, as, ALPNProtocols: [alpn] });
      return alpn === "h2" ? askH2(t, socket, host) : ask(socket, host);
    };
    // The wildcard's certificate covers the secret name, so a browser may reuse its connection (RFC 9113 §9.1.1).
    assert.equal(await visit("x.lab.test", "secret.lab.test", anna), 421);
    assert.equal(await visit("secret.lab.test", "secret.lab.test", anna), 200);
    assert.equal(await visit("a.test", "secret.lab.test", anna), 421);
    assert.equal(home.told.length, 1);
  });
}

test("without a name in the handshake nobody was asked, so nobody is let in", async (t) => {
  const home = await house(t);
  assert.equal(await ask(await open(t, home.httpsPort, { as: anna, servername: "" }), "a.test"), 403);
  assert.deepEqual(home.told, []);
});

test("nothing is resumed: neither a session of the same site nor one of another", async (t) => {
  const home = await house(t);
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const versions = { minVersion: version, maxVersion: version };
    const sessions: Buffer[] = [];
    for (const [name, as] of [
      ["a.test", anna],
      ["home.localhost", undefined],
    ] as const) {
      const socket = await open(t, home.httpsPort, { servername: name, as, ...versions });
      socket.on("session", (session: Buffer) => sessions.push(session));
      assert.equal(await ask(socket, name), 200);
      const known = socket.getSession();
      if (known !== undefined) sessions.push(known);
    }
    assert.ok(sessions.length > 0);
    for (const session of sessions) {
      const again = await open(t, home.httpsPort, { servername: "a.test", session, ...versions });
      assert.equal(again.isSessionReused(), false);
      assert.equal(await ask(again, "a.test"), 403);
    }
  }
});

test("who is sent away is out at once: kept connections answer 403, and are ended with the tunnels", async (t) => {
  const home = await house(t);
  const kept = await open(t, home.httpsPort, { servername: "a.test", as: anna });
  assert.equal(await ask(kept, "a.test"), 200);
  const tunnel = await open(t, home.httpsPort, { servername: "a.test", as: anna });
  assert.equal(await ask(tunnel, "a.test", "Connection: Upgrade\r\nUpgrade: echo\r\n"), 101);
  const neighbour = await open(t, home.httpsPort, { servername: "home.localhost" });
  home.accepted.clear();
  assert.equal(await ask(kept, "a.test"), 403);
  const gone = [kept, tunnel].map((socket) => once(socket, "close"));
  home.front.dismissDevices();
  await Promise.all(gone);
  assert.equal(await ask(neighbour, "home.localhost"), 200);
  await eventually("their connections are given back", () => home.front.openConnections() === 1, 30_000);
});

test("a site that does not ask for certificates never does", { skip: needs("openssl") }, async (t) => {
  const home = await house(t);
  for (const version of ["-tls1_2", "-tls1_3"]) {
    const isAsked = async (name: string) => {
      const args = ["s_client", "-connect", `127.0.0.1:${home.httpsPort}`, "-servername", name, version, "-msg"];
      return (await runProgram("openssl", args)).stdout.includes("CertificateRequest");
    };
    assert.deepEqual(
      [await isAsked("a.test"), await isAsked("b.test"), await isAsked("home.localhost"), await isAsked("x.lab.test")],
      [true, true, false, false],
    );
  }
});

test("after a reload a site asks from its next connection on", async (t) => {
  const home = await house(t);
  const target = await startTarget(t, (_, response) => response.end("inside"));
  const before = await open(t, home.httpsPort, { servername: "home.localhost", as: anna });
  assert.equal(await ask(before, "home.localhost"), 200);
  home.reload([siteConfig("home.localhost", targetConfig(target.port), { clientCert: "required" })]);
  assert.equal(await ask(before, "home.localhost"), 403, "it was never asked");
  const after = await open(t, home.httpsPort, { servername: "home.localhost", as: anna });
  assert.equal(await ask(after, "home.localhost"), 200);
});
