/**
 * Home Assistant behind the whole Gatehouse: first that ours decides as the real one does, then that no visitor, whatever
 * forwarding headers he invents, makes it refuse, and that the advice for a refusal is what it takes.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { createHomeAssistant, type HttpSettings, type Visit } from "../support/home-assistant.ts";
import { configText, type RunningGatehouse, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";
import { openWebSocket } from "../support/websocket.ts";

const NAME = "ha.localhost";

interface House {
  port: number;
  settings: HttpSettings;
  log: string[];
}

async function homeAssistant(t: TestContext, settings: HttpSettings): Promise<House> {
  const house: House = { port: 0, settings, log: [] };
  const server = createHomeAssistant(
    () => house.settings,
    (line) => house.log.push(line),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  house.port = (server.address() as AddressInfo).port;
  return house;
}

const TRUSTING: HttpSettings = { use_x_forwarded_for: true, trusted_proxies: ["127.0.0.1", "10.0.0.0/8"] };
const UNTOLD: HttpSettings = { use_x_forwarded_for: false, trusted_proxies: [] };

/** The decision order of forwarded.py, a line each: settings, headers, and what comes of them. */
const steps: [what: string, settings: HttpSettings, headers: [string, string][], comes: Partial<Visit> | RegExp][] = [
  ["no X-Forwarded-For: the peer is the client", UNTOLD, [["X-Forwarded-Proto", ""]], { remote: "127.0.0.1" }],
  [
    "not set up for proxies",
    UNTOLD,
    [["X-Forwarded-For", "1.2.3.4"]],
    /127\.0\.0\.1, .* not set-up for reverse proxies/,
  ],
  [
    "another proxy than the trusted ones",
    { use_x_forwarded_for: true, trusted_proxies: ["192.168.0.0/24"] },
    [["X-Forwarded-For", "1.2.3.4"]],
    /from an untrusted proxy 127\.0\.0\.1/,
  ],
  ["an address with a port", TRUSTING, [["X-Forwarded-For", "1.2.3.4:5678"]], /Invalid IP address in X-Forwarded-For/],
  ["a word in place of an address", TRUSTING, [["X-Forwarded-For", "unknown"]], /Invalid IP address/],
  ["an empty entry", TRUSTING, [["X-Forwarded-For", "1.2.3.4,"]], /Invalid IP address/],
  [
    "the first untrusted from the right",
    TRUSTING,
    [["X-Forwarded-For", "9.9.9.9, 1.2.3.4, 10.0.0.1"]],
    { remote: "1.2.3.4" },
  ],
  ["all trusted: the left-most", TRUSTING, [["X-Forwarded-For", "10.0.0.3, 10.0.0.2"]], { remote: "10.0.0.3" }],
  [
    "two lines are one list",
    TRUSTING,
    [
      ["X-Forwarded-For", "1.2.3.4"],
      ["X-Forwarded-For", "10.0.0.9"],
    ],
    { remote: "1.2.3.4" },
  ],
  [
    "as many schemes as addresses: the client's counts",
    TRUSTING,
    [
      ["X-Forwarded-For", "1.2.3.4, 10.0.0.1"],
      ["X-Forwarded-Proto", "https, http"],
    ],
    { scheme: "https" },
  ],
  [
    "neither one scheme nor as many as addresses",
    TRUSTING,
    [
      ["X-Forwarded-For", "1.2.3.4"],
      ["X-Forwarded-Proto", "https, http"],
    ],
    /Incorrect number of elements/,
  ],
  [
    "an empty scheme",
    TRUSTING,
    [
      ["X-Forwarded-For", "1.2.3.4"],
      ["X-Forwarded-Proto", ""],
    ],
    /Empty item/,
  ],
  [
    "an empty host",
    TRUSTING,
    [
      ["X-Forwarded-For", "1.2.3.4"],
      ["X-Forwarded-Host", ""],
    ],
    /Empty value/,
  ],
];

test("our Home Assistant takes and refuses what the real one does", async (t) => {
  const house = await homeAssistant(t, UNTOLD);
  for (const [what, settings, headers, comes] of steps) {
    house.settings = settings;
    house.log.length = 0;
    const asked = request({
      port: house.port,
      host: "127.0.0.1",
      agent: false,
      headers: [["Host", NAME], ...headers].flat(),
    });
    asked.end();
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    let body = "";
    for await (const piece of answer) body += String(piece);
    if (comes instanceof RegExp) {
      assert.deepEqual([answer.statusCode, body], [400, "400: Bad Request"], what);
      assert.match(house.log.join(), comes, what);
    } else {
      assert.equal(answer.statusCode, 200, `${what}: ${house.log.join()}`);
      assert.deepEqual({ ...(JSON.parse(body) as Visit), ...comes }, JSON.parse(body), what);
    }
  }
});

async function start(t: TestContext, house: House): Promise<{ gatehouse: RunningGatehouse; root: string }> {
  const folder = await temporaryFolder(t);
  const config = configText(folder, `sites: { ${NAME}: "127.0.0.1:${house.port}" }\n`);
  const gatehouse = await startGatehouse(t, { folder, config });
  const [ready] = await Promise.all([gatehouse.line("edge.ready"), gatehouse.line("certificate.issued")]);
  return { gatehouse, root: String(ready["caRoot"]) };
}

/** What strangers send, by mistake or by intent. Each alone makes Home Assistant refuse when it gets through. */
const inventions: readonly string[][] = [
  [],
  ["X-Forwarded-For: 1.2.3.4:5678"],
  ["X-Forwarded-For: unknown", "X-Forwarded-For: 10.0.0.1,"],
  ["X-Forwarded-For;", "X-Forwarded-Proto;", "X-Forwarded-Host;"],
  ["X-Forwarded-Proto: http, http, http"],
  ["X-Forwarded-Host: evil.example", "X-Forwarded-Host: worse.example"],
  ["Forwarded: for=unknown;proto=http"],
];

test(
  "whatever forwarding headers a visitor invents, Home Assistant serves him under his own address",
  { skip: needs("curl") },
  async (t) => {
    const house = await homeAssistant(t, { use_x_forwarded_for: true, trusted_proxies: ["127.0.0.1/32"] });
    const { gatehouse, root } = await start(t, house);
    const url = `https://${NAME}:${gatehouse.httpsPort}/`;
    for (const version of ["--http1.1", "--http2"]) {
      for (const headers of inventions) {
        const lines = headers.flatMap((line) => ["-H", line]);
        const { stdout, stderr } = await runProgram("curl", ["-sS", version, "--cacert", root, ...lines, url]);
        const what = `${version} ${headers.join(" ")}`;
        assert.notEqual(stdout, "400: Bad Request", `${what}: ${house.log.join()}`);
        const seen = JSON.parse(stdout) as Visit;
        assert.deepEqual(
          seen,
          { remote: "127.0.0.1", scheme: "https", host: `${NAME}:${gatehouse.httpsPort}` },
          `${what} ${stderr}`,
        );
      }
    }
    assert.deepEqual(house.log, []);
  },
);

test("its WebSocket opens when it trusts us, and after its 400 the log names the entry that makes it", async (t) => {
  const house = await homeAssistant(t, UNTOLD);
  const { gatehouse, root } = await start(t, house);
  const where = { port: gatehouse.httpsPort, name: NAME, ca: await readFile(root), path: "/api/websocket" };
  await assert.rejects(openWebSocket(t, where), /Unexpected server response: 400/);
  const line = await gatehouse.line("upstream.home_assistant_untrusted");
  assert.match(String(line["hint"]), /Settings > System > Network > HTTP server/);
  house.settings = { use_x_forwarded_for: true, trusted_proxies: line["trusted_proxies"] as string[] };
  const socket = await openWebSocket(t, where);
  socket.send(JSON.stringify({ id: 3, type: "ping" }));
  const heard: string[] = [];
  socket.on("message", (text: Buffer) => heard.push(text.toString()));
  while (!heard.some((text) => text.includes("pong"))) await once(socket, "message");
});
