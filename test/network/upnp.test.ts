/**
 * UPnP against routers that behave badly, as they are met in homes: error numbers, lies, silence.
 */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { findUpnp } from "../../src/network/upnp.ts";

const port = {
  protocol: "tcp",
  internalPort: 8443,
  externalPort: 443,
  leaseSeconds: 3_600,
  description: "Gatehouse <1>",
} as const;

interface Igd {
  /** Action → arguments of each call, in order. */
  calls: { service: string; action: string; args: Record<string, string> }[];
  group: { address: string; port: number };
}

type Reply = { fault: number } | Record<string, string> | ((response: ServerResponse) => void);
type Behaviour = (action: string, args: Record<string, string>, service: string) => Reply;

/** A router on 127.0.0.1 that answers searches, has `services`, and does what `behave` says. */
async function igd(t: TestContext, behave: Behaviour, services = ["WANIPConnection:1"]): Promise<Igd> {
  const calls: Igd["calls"] = [];
  const web = createServer((request, response) => {
    if (request.method === "GET") {
      const list = services.map(
        (one, at) =>
          `<service><serviceType>urn:schemas-upnp-org:service:${one}</serviceType><controlURL>/ctl/${at}</controlURL></service>`,
      );
      response.end(
        `<?xml version="1.0"?><root><device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><serviceList>${list.join("")}</serviceList></device></root>`,
      );
      return;
    }
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      const action = /#(\w+)"/.exec(String(request.headers["soapaction"]))?.[1] ?? "";
      const args = Object.fromEntries(
        [...body.matchAll(/<(New\w+)>([^<]*)</g)].map(([, name = "", value = ""]) => [name, value]),
      );
      const name = services[Number(request.url?.split("/")[2])] ?? "";
      calls.push({ service: name, action, args });
      const reply = behave(action, args, name);
      if (typeof reply === "function") {
        reply(response);
      } else if ("fault" in reply) {
        response.statusCode = 500;
        response.end(
          `<s:Envelope><s:Body><s:Fault><detail><UPnPError><errorCode>${reply.fault}</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`,
        );
      } else {
        const inner = Object.entries(reply).map(([key, value]) => `<${key}>${value}</${key}>`);
        response.end(
          `<s:Envelope><s:Body><u:${action}Response>${inner.join("")}</u:${action}Response></s:Body></s:Envelope>`,
        );
      }
    });
  });
  await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
  const search = createSocket("udp4");
  search.on("message", (_text, from) => {
    const at = `http://127.0.0.1:${(web.address() as AddressInfo).port}/root.xml`;
    const answer = `HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLocation: ${at}\r\n\r\n`;
    search.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => search.bind(0, "127.0.0.1", resolve));
  t.after(() => {
    search.close();
    web.closeAllConnections();
    web.close();
  });
  return { calls, group: { address: "127.0.0.1", port: search.address().port } };
}

const find = ({ group }: Igd) =>
  findUpnp({ gateway: "127.0.0.1", ownAddress: "127.0.0.1", group }, AbortSignal.timeout(20_000));
const map = async (router: Igd) => (await find(router)).map(port, AbortSignal.timeout(20_000));
const ours = (lease: string) => ({
  NewInternalClient: "127.0.0.1",
  NewInternalPort: "8443",
  NewLeaseDuration: lease,
  NewPortMappingDescription: "Gatehouse",
});
const theirs = {
  NewInternalClient: "192.168.1.9",
  NewInternalPort: "443",
  NewLeaseDuration: "0",
  NewPortMappingDescription: "nas",
};

/** A table with one entry, as a router keeps it. */
function keeps(add: (args: Record<string, string>, lease: string) => Reply): Behaviour {
  let lease: string | undefined;
  return (action, args) => {
    if (action === "GetSpecificPortMappingEntry") return lease === undefined ? { fault: 714 } : ours(lease);
    if (action !== "AddPortMapping") return {};
    const reply = add(args, args["NewLeaseDuration"] ?? "");
    if (!(typeof reply === "object" && "fault" in reply)) lease = args["NewLeaseDuration"];
    return reply;
  };
}

for (const fault of [725, 402]) {
  test(`a router that says ${fault} to a lease is asked for one without end`, async (t) => {
    const router = await igd(
      t,
      keeps((_args, lease) => (lease === "0" ? {} : { fault })),
    );
    assert.equal((await map(router)).leaseSeconds, 0);
    const leases = router.calls
      .filter((call) => call.action === "AddPortMapping")
      .map((call) => call.args["NewLeaseDuration"]);
    assert.deepEqual(leases, ["3600", "0"]);
  });
}

test("what is asked for is complete, escaped and in the standard's order", async (t) => {
  const router = await igd(
    t,
    keeps(() => ({})),
  );
  assert.equal((await map(router)).leaseSeconds, 3_600);
  const [call] = router.calls.filter((one) => one.action === "AddPortMapping");
  assert.deepEqual(Object.entries(call?.args ?? {}), [
    ["NewRemoteHost", ""],
    ["NewExternalPort", "443"],
    ["NewProtocol", "TCP"],
    ["NewInternalPort", "8443"],
    ["NewInternalClient", "127.0.0.1"],
    ["NewEnabled", "1"],
    ["NewPortMappingDescription", "Gatehouse &lt;1&gt;"],
    ["NewLeaseDuration", "3600"],
  ]);
});

test("a port that somebody else has is not asked for, and named", async (t) => {
  const router = await igd(t, () => theirs);
  await assert.rejects(map(router), {
    code: "GATEHOUSE_ROUTER_CONFLICT",
    message: /tcp 443 for 192\.168\.1\.9:443 \("nas"\)/,
  });
  assert.deepEqual(
    router.calls.map((call) => call.action),
    ["GetSpecificPortMappingEntry"],
  );
});

test("718 is a conflict, with the holder where the router tells", async (t) => {
  let asked = 0;
  const router = await igd(t, (action) =>
    action === "AddPortMapping" ? { fault: 718 } : asked++ === 0 ? { fault: 714 } : theirs,
  );
  await assert.rejects(map(router), { code: "GATEHOUSE_ROUTER_CONFLICT", message: /192\.168\.1\.9:443/ });
  const shy = await igd(t, (action) => ({ fault: action === "AddPortMapping" ? 718 : 501 }));
  await assert.rejects(map(shy), { code: "GATEHOUSE_ROUTER_CONFLICT", message: /does not say for whom/ });
});

test("a router that cannot look entries up is believed when it says yes", async (t) => {
  const router = await igd(t, (action) => (action === "AddPortMapping" ? {} : { fault: 401 }));
  assert.equal((await map(router)).leaseSeconds, 3_600);
});

test("a router that says yes and does nothing is found out", async (t) => {
  const router = await igd(t, (action) => (action === "AddPortMapping" ? {} : { fault: 714 }));
  await assert.rejects(map(router), { code: "GATEHOUSE_ROUTER_GARBAGE" });
});

test("somebody who takes the port in the same moment is a conflict", async (t) => {
  let looks = 0;
  const router = await igd(t, (action) => (action === "AddPortMapping" ? {} : looks++ === 0 ? { fault: 714 } : theirs));
  await assert.rejects(map(router), { code: "GATEHOUSE_ROUTER_CONFLICT", message: /192\.168\.1\.9:443/ });
});

test("only our own mapping is taken back", async (t) => {
  const router = await igd(t, () => theirs);
  await (await find(router)).unmap(port, 443, AbortSignal.timeout(5_000));
  assert.deepEqual(
    router.calls.map((call) => call.action),
    ["GetSpecificPortMappingEntry"],
  );
});

test("of several uplinks the connected one is used", async (t) => {
  const router = await igd(
    t,
    (action, _args, service) =>
      action === "GetStatusInfo"
        ? { NewConnectionStatus: service === "WANPPPConnection:1" ? "Connected" : "Disconnected" }
        : { NewExternalIPAddress: "5.6.7.8" },
    ["WANIPConnection:1", "WANIPConnection:1", "WANPPPConnection:1"],
  );
  assert.equal((await (await find(router)).state(AbortSignal.timeout(5_000))).externalAddress, "5.6.7.8");
  assert.equal(router.calls.at(-1)?.service, "WANPPPConnection:1");
});

const refusals: [what: string, reply: Reply, code: string, services?: string[]][] = [
  ["606", { fault: 606 }, "GATEHOUSE_ROUTER_REFUSED"],
  ["724", { fault: 724 }, "GATEHOUSE_ROUTER_REFUSED"],
  ["501", { fault: 501 }, "GATEHOUSE_ROUTER_REFUSED"],
  [
    "HTML instead of SOAP",
    (response) => void response.end("<html><body>Please log in<br></html>"),
    "GATEHOUSE_ROUTER_GARBAGE",
  ],
  [
    "a redirect",
    (response) => void response.writeHead(302, { location: "http://192.168.1.1/" }).end(),
    "GATEHOUSE_ROUTER_GARBAGE",
  ],
  [
    "a body without end",
    (response) => {
      const pour = (): void => {
        while (!response.destroyed && response.write("x".repeat(65_536)));
      };
      response.on("drain", pour).on("error", () => {});
      pour();
    },
    "GATEHOUSE_ROUTER_SILENT",
  ],
  ["a closed connection", (response) => void response.destroy(), "GATEHOUSE_ROUTER_SILENT"],
  ["a service that maps nothing", {}, "GATEHOUSE_ROUTER_GARBAGE", ["Layer3Forwarding:1"]],
];

for (const [what, reply, code, services] of refusals) {
  test(`${what} is ${code}`, async (t) => {
    const router = await igd(
      t,
      (action) => (action === "AddPortMapping" || typeof reply === "function" ? reply : { fault: 714 }),
      services,
    );
    await assert.rejects(map(router), { code });
  });
}
