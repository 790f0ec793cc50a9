/**
 * One port for all of it: names whose TLS goes through beside names whose TLS ends here, and proxies before and behind.
 */
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { chromium } from "playwright-core";
import { type Issued, makeCa } from "../support/certificates.ts";
import { freePort, startDaemon } from "../support/daemons.ts";
import { closeOf, connectTo, readAll } from "../support/forward-home.ts";
import { configText, type RunningGatehouse, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";

const INNER = "inner.test-name.org";

async function issue(): Promise<Issued> {
  return (await makeCa()).issue({ names: [INNER] });
}

/** A machine that ends TLS itself: echoes, or answers HTTP. */
async function startInner(
  t: TestContext,
  { keyPem, chainPem }: Issued,
  serve: (socket: Socket) => void,
): Promise<number> {
  const open = new Set<Socket>();
  const server = createTlsServer({ key: keyPem, cert: chainPem, ALPNProtocols: ["http/1.1"] }, (socket) => {
    socket.on("error", () => {});
    open.add(socket);
    serve(socket);
  });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** Hands on what comes from the client in pieces of so many bytes, each in a segment of its own. */
async function startChopper(t: TestContext, to: number, size: number): Promise<number> {
  const server = createServer((client) => {
    const onward = connect({ port: to, host: "127.0.0.1", noDelay: true });
    for (const socket of [client, onward]) socket.on("error", () => {});
    t.after(() => {
      client.destroy();
      onward.destroy();
    });
    onward.pipe(client);
    client.on("data", (bytes: Buffer) => {
      client.pause();
      let at = 0;
      const next = (): void => {
        if (at >= bytes.length) {
          client.resume();
          return;
        }
        onward.write(bytes.subarray(at, (at += size)), () => setImmediate(next));
      };
      next();
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function start(t: TestContext, config: string): Promise<RunningGatehouse> {
  const folder = await temporaryFolder(t);
  const gatehouse = await startGatehouse(t, { folder, config: configText(folder, config) });
  await gatehouse.line("certificate.issued", ({ name }) => name === "home.localhost");
  return gatehouse;
}

const sites = (inner: number, more = ""): string =>
  `sites:\n  home.localhost: demo\n  ${INNER}: { passthrough: "127.0.0.1:${inner}"${more} }\n`;

test("a ClientHello in pieces of any size reaches the inner server unbroken, beside a name that ends here", async (t) => {
  const inner = await issue();
  const gatehouse = await start(t, sites(await startInner(t, inner, (socket) => socket.pipe(socket))));
  for (const size of [1, 2, 5, 100, 1_400]) {
    const port = await startChopper(t, gatehouse.httpsPort, size);
    const client = connectTls({ port, host: "127.0.0.1", servername: INNER, ca: inner.caPem });
    client.on("error", () => {});
    await once(client, "secureConnect");
    assert.equal(client.getPeerX509Certificate()?.subjectAltName, `DNS:${INNER}`);
    client.write(`in pieces of ${size}`);
    assert.equal(String((await once(client, "data"))[0]), `in pieces of ${size}`);
    client.destroy();

    const home = connectTls({ port, host: "127.0.0.1", servername: "home.localhost", rejectUnauthorized: false });
    home.on("error", () => {});
    await once(home, "secureConnect");
    home.write("GET / HTTP/1.1\r\nHost: home.localhost\r\nConnection: close\r\n\r\n");
    assert.match((await readAll(home)).toString(), /^HTTP\/1\.1 200 /);
  }
  const { stdout } = await gatehouse.cli("ls", "--json");
  assert.doesNotMatch(stdout, new RegExp(INNER), "no certificate is ordered for it");
});

test("OpenSSL's client reaches the inner server and hears it to its end", { skip: needs("openssl") }, async (t) => {
  const inner = await issue();
  const port = await startInner(t, inner, (socket) => socket.once("data", (words) => socket.end(words)));
  const gatehouse = await start(t, sites(port));
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, "ca.pem"), inner.caPem);
  const { stdout } = await runProgram(
    "openssl",
    [
      "s_client",
      "-quiet",
      "-ign_eof",
      "-verify_return_error",
      "-CAfile",
      join(folder, "ca.pem"),
      "-servername",
      INNER,
    ].concat("-connect", `127.0.0.1:${gatehouse.httpsPort}`),
    { input: "hello through\n" },
  );
  assert.match(stdout, /hello through/);
});

test("Chromium's hello goes through as well", { skip: needs("chromium"), timeout: 90_000 }, async (t) => {
  const inner = await issue();
  const port = await startInner(t, inner, (socket) => {
    socket.once("data", () => {
      socket.end(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 17\r\nConnection: close\r\n\r\n<h1>from inside</h1>".slice(
          0,
        ),
      );
    });
  });
  const gatehouse = await start(t, sites(port));
  const key = new X509Certificate(inner.chainPem).publicKey.export({ type: "spki", format: "der" });
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--disable-background-networking",
      `--host-resolver-rules=MAP ${INNER} 127.0.0.1`,
      `--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`,
    ],
  });
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`https://${INNER}:${gatehouse.httpsPort}/`);
  assert.match((await page.locator("h1").textContent()) ?? "", /from in/);
});

for (const version of ["v1", "v2"]) {
  test(`nginx behind a passthrough is told the client by PROXY ${version}`, { skip: needs("nginx") }, async (t) => {
    const inner = await issue();
    const folder = await temporaryFolder(t);
    const port = await freePort();
    await writeFile(join(folder, "key.pem"), inner.keyPem);
    await writeFile(join(folder, "chain.pem"), inner.chainPem);
    await writeFile(
      join(folder, "nginx.conf"),
      `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error;
events {}
http {
  access_log off;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  server {
    listen 127.0.0.1:${port} ssl proxy_protocol;
    ssl_certificate ${folder}/chain.pem; ssl_certificate_key ${folder}/key.pem;
    location / { return 200 "$proxy_protocol_addr $proxy_protocol_server_port\\n"; }
  }
}
`,
    );
    await startDaemon(t, "nginx", ["-c", join(folder, "nginx.conf"), "-e", join(folder, "error")], port);
    const gatehouse = await start(t, sites(port, `, proxyProtocol: ${version}`));
    const { stdout, stderr } = await runProgram("curl", [
      "-sS",
      "-k",
      "--interface",
      "127.0.0.3",
      "--resolve",
      `${INNER}:${gatehouse.httpsPort}:127.0.0.1`,
      `https://${INNER}:${gatehouse.httpsPort}/`,
    ]);
    assert.equal(stdout, `127.0.0.3 ${gatehouse.httpsPort}\n`, stderr);
  });

  test(
    `HAProxy in front says who the client is by PROXY ${version}, on both ports`,
    { skip: needs("haproxy") },
    async (t) => {
      const inner = await issue();
      const port = await startInner(t, inner, (socket) => socket.pipe(socket));
      const gatehouse = await start(t, `proxyProtocolFrom: 127.0.0.9\n${sites(port)}`);
      const folder = await temporaryFolder(t);
      const [https, http] = [await freePort(), await freePort()];
      const send = version === "v1" ? "send-proxy" : "send-proxy-v2";
      const listen = (name: string, at: number, to: number): string =>
        `listen ${name}\n bind 127.0.0.1:${at}\n server s 127.0.0.1:${to} source 127.0.0.9 ${send}\n`;
      await writeFile(
        join(folder, "h.cfg"),
        `defaults
 mode tcp
 timeout connect 5s
 timeout client 30s
 timeout server 30s
${listen("secure", https, gatehouse.httpsPort)}${listen("plain", http, gatehouse.httpPort)}`,
      );
      await startDaemon(t, "haproxy", ["-db", "-f", join(folder, "h.cfg")], https);
      const ask = (url: string, ...more: string[]) =>
        runProgram("curl", [
          "-sS",
          "-k",
          "-i",
          "--interface",
          "127.0.0.4",
          "--connect-to",
          `::127.0.0.1:`,
          ...more,
          url,
        ]);
      const page = await ask(`https://home.localhost:${https}/`, "-H", "Accept: application/json");
      assert.match(page.stdout, /127\.0\.0\.4/, page.stderr);
      const access = await gatehouse.line("access", (line) => line["client.ip"] === "127.0.0.4");
      assert.ok(access);
      const plain = await ask(`http://home.localhost:${http}/x`);
      assert.match(plain.stdout, /^HTTP\/1\.1 308 /);
      // And a name that goes through, behind the header.
      const client = connectTls({ port: https, host: "127.0.0.1", servername: INNER, ca: inner.caPem });
      await once(client, "secureConnect");
      client.write("both");
      assert.equal(String((await once(client, "data"))[0]), "both");
      client.destroy();
    },
  );
}

test("a listed peer without a header is cut off, and a header from anybody else is no header", async (t) => {
  const gatehouse = await start(t, `proxyProtocolFrom: 127.0.0.9\nsites: { home.localhost: demo }\n`);
  const listed = connect({ port: gatehouse.httpPort, host: "127.0.0.1", localAddress: "127.0.0.9" });
  listed.on("error", () => {});
  listed.write("GET / HTTP/1.1\r\nHost: home.localhost\r\n\r\n");
  listed.resume();
  await closeOf(listed);
  const stranger = await connectTo(t, gatehouse.httpPort);
  stranger.write("PROXY TCP4 10.1.2.3 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: home.localhost\r\n\r\n");
  assert.match((await readAll(stranger)).toString(), /^HTTP\/1\.1 400 /);
  assert.ok(!gatehouse.lines.some((line) => JSON.stringify(line).includes("10.1.2.3")));
});

test("half a ClientHello waits no longer than it may", async (t) => {
  const gatehouse = await start(t, `limits: { handshakeTime: 300ms }\n${sites(9)}`);
  const client = await connectTo(t, gatehouse.httpsPort);
  client.write(Buffer.from([22, 3, 1, 2, 0, 1, 0]));
  assert.equal((await readAll(client)).length, 0);
});
