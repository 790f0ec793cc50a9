/**
 * The certificate's whole road with a real ACME CA (Debian's pebble): its validator fetches the token from our plain port.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { startPebble } from "../support/pebble.ts";
import { needs } from "../support/programs.ts";
import { openWebSocket } from "../support/websocket.ts";
import { freePort, sendBytes, startTarget } from "../support/target.ts";
import { certificateShown } from "../support/tls-client.ts";

const NAME = "home.example.org";

function pebbleConfig(folder: string, httpPort: number, directoryUrl: string, rest: string, renewAt = "1/3"): string {
  return configText(
    folder,
    `acme: { ca: "${directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}", renewAt: ${renewAt} }\n${rest}`,
  ).replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${httpPort}"`);
}

const servedSerial = async (port: number, ca: string): Promise<string> =>
  (await certificateShown({ port, servername: NAME, ca })).serialNumber;

test(
  "from an empty folder to an answer that the CA's root vouches for, and a restart orders nothing",
  { skip: needs("pebble") },
  async (t) => {
    const folder = await temporaryFolder(t);
    const httpPort = await freePort();
    const pebble = await startPebble(t, { httpPort, env: { PEBBLE_WFE_NONCEREJECT: "50", PEBBLE_VA_SLEEPTIME: "2" } });
    await writeFile(join(folder, "ca.pem"), pebble.caPem);
    const target = await startTarget(t, (req, res) => res.end(`inside ${String(req.headers.host)}`));
    const config = pebbleConfig(
      folder,
      httpPort,
      pebble.directoryUrl,
      `sites: { ${NAME}: "127.0.0.1:${target.port}" }`,
    );

    const first = await startGatehouse(t, { folder, config });
    await first.line("certificate.issued", undefined, 60_000);
    const rootPem = await pebble.rootPem();
    const answer = await new Promise<string>((resolve, reject) => {
      request(
        { port: first.httpsPort, host: "127.0.0.1", servername: NAME, headers: { host: NAME }, ca: rootPem },
        (res) => {
          let text = "";
          res.on("data", (chunk: Buffer) => (text += chunk.toString()));
          res.on("end", () => resolve(text));
        },
      )
        .on("error", reject)
        .end();
    });
    assert.equal(answer, `inside ${NAME}`);
    const serial = await servedSerial(first.httpsPort, rootPem);
    assert.equal(await first.stop(), 0);

    const orders = pebble.orders();
    assert.equal(orders, 1);
    const second = await startGatehouse(t, { folder, config });
    assert.equal(await servedSerial(second.httpsPort, rootPem), serial);
    assert.equal(await second.stop(), 0);
    assert.equal(pebble.orders(), orders, "the restart made an order");
  },
);

test(
  "a renewal swaps the certificate while a WebSocket and a 200 MB download run through unharmed",
  { skip: needs("pebble") },
  async (t) => {
    const folder = await temporaryFolder(t);
    const httpPort = await freePort();
    // Lives of one minute, renewed when 80 % is left: twelve seconds after the first.
    const pebble = await startPebble(t, { httpPort, validitySeconds: 60, env: { PEBBLE_VA_NOSLEEP: "1" } });
    await writeFile(join(folder, "ca.pem"), pebble.caPem);
    const size = 200_000_000;
    const target = await startTarget(t, (_, res) => sendBytes(res, size));
    const sockets = new WebSocketServer({ server: target.server });
    sockets.on("connection", (socket) =>
      socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary })),
    );
    t.after(() => sockets.close());
    const gatehouse = await startGatehouse(t, {
      folder,
      config: pebbleConfig(
        folder,
        httpPort,
        pebble.directoryUrl,
        `sites: { ${NAME}: "127.0.0.1:${target.port}" }`,
        "0.8",
      ),
    });
    const issued = await gatehouse.line("certificate.issued", undefined, 60_000);
    const rootPem = await pebble.rootPem();

    const ws = await openWebSocket(t, { port: gatehouse.httpsPort, name: NAME, ca: rootPem });
    const echo = async (text: string) => {
      ws.send(text);
      const [data] = (await once(ws, "message")) as [Buffer];
      return data.toString();
    };
    assert.equal(await echo("before"), "before");

    // The download is held at its first byte until the certificate was swapped, then read to its end.
    const download = request({
      port: gatehouse.httpsPort,
      host: "127.0.0.1",
      servername: NAME,
      headers: { host: NAME },
      ca: rootPem,
      agent: false,
    });
    download.end();
    const [res] = (await once(download, "response")) as [import("node:http").IncomingMessage];
    const before = await servedSerial(gatehouse.httpsPort, rootPem);
    const renewed = await gatehouse.line("certificate.issued", (line) => line["serial"] !== issued["serial"], 60_000);
    assert.equal(renewed["name"], NAME);
    const after = await servedSerial(gatehouse.httpsPort, rootPem);
    assert.notEqual(after, before);

    let got = 0;
    res.on("data", (chunk: Buffer) => (got += chunk.length));
    await once(res, "end");
    assert.equal(got, size);
    assert.equal(await echo("after"), "after");
    assert.equal(ws.readyState, WebSocket.OPEN);
    // Key and certificate on disk are those that are served.
    const current = await readFile(join(folder, "state", "certs", NAME, "current"), "utf8");
    assert.ok(current.trim().length > 0);
  },
);
