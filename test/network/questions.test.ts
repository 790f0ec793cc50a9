/**
 * Our side of PCP, NAT-PMP and SSDP against a peer of the test's own: what is sent how often, and what is believed.
 */
import assert from "node:assert/strict";
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { describe, test, type TestContext } from "node:test";
import { askGateway, natPmpWaits, pcpWaits } from "../../src/network/ask-gateway.ts";
import { createNatPmp } from "../../src/network/nat-pmp.ts";
import { createPcp } from "../../src/network/pcp.ts";
import type { RouterSpeaker } from "../../src/network/speaker.ts";
import { readSearchAnswer, searchRouter } from "../../src/network/upnp-search.ts";

const port = {
  protocol: "tcp",
  internalPort: 8443,
  externalPort: 443,
  leaseSeconds: 7_200,
  description: "Gatehouse",
} as const;
const signal = (): AbortSignal => AbortSignal.timeout(20_000);

test("a gateway that there is no way to is silent, and ends nothing else", async () => {
  // A socket that was not told that it may broadcast is refused this address at once, as one without a route is.
  const nowhere = { gateway: "255.255.255.255", ownAddress: "0.0.0.0", protocol: "PCP", packet: Buffer.alloc(2) };
  const question = { ...nowhere, waitsMs: [10], accept: () => undefined, signal: signal() };
  await assert.rejects(askGateway(question), { code: "GATEHOUSE_ROUTER_SILENT" });
});

interface Peer {
  port: number;
  received: Buffer[];
  socket: Socket;
}

async function peer(
  t: TestContext,
  answer: (question: Buffer, count: number) => readonly Buffer[],
  address = "127.0.0.1",
): Promise<Peer> {
  const socket = createSocket("udp4");
  const received: Buffer[] = [];
  socket.on("message", (question: Buffer, from: RemoteInfo) => {
    received.push(question);
    for (const bytes of answer(question, received.length)) socket.send(bytes, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, address, resolve));
  t.after(() => void socket.close());
  return { port: socket.address().port, received, socket };
}

const gateway = { gateway: "127.0.0.1", ownAddress: "127.0.0.1" };
const secret = Buffer.alloc(16, 7);

/** What a PCP router says to a MAP that it grants as asked. */
function pcpGrant(question: Buffer, change: (answer: Buffer) => unknown = () => {}): Buffer {
  const answer = Buffer.from(question);
  answer.writeUInt8(0x80 | question.readUInt8(1), 1);
  answer.writeUInt32BE(1_000, 8);
  if (answer.length >= 60) Buffer.from("00000000000000000000ffff05060708", "hex").copy(answer, 44);
  change(answer);
  return answer;
}

function natPmpGrant(question: Buffer, change: (answer: Buffer) => unknown = () => {}): Buffer {
  const answer = Buffer.alloc(16);
  answer.writeUInt8(0x80 | question.readUInt8(1), 1);
  answer.writeUInt32BE(1_000, 4);
  question.copy(answer, 8, 4, 12);
  change(answer);
  return answer;
}

const speakers: Record<string, (to: number) => RouterSpeaker> = {
  PCP: (to) => createPcp({ ...gateway, port: to, secret, sendings: 2 }),
  "NAT-PMP": (to) => createNatPmp({ ...gateway, port: to, sendings: 3 }),
};
const grants = { PCP: pcpGrant, "NAT-PMP": natPmpGrant } as Record<string, typeof pcpGrant>;

// Not among the others, which run side by side: time stands still here.
for (const [name, create] of Object.entries(speakers)) {
  test(`${name}: one question when it is answered, however long one waits`, async (t) => {
    const prompt = await peer(t, (question) => [(grants[name] ?? pcpGrant)(question)]);
    t.mock.timers.enable({ apis: ["setTimeout"] });
    await create(prompt.port).map(port, signal());
    // What a forgotten timer would send goes out now, and arrives before the last word.
    t.mock.timers.tick(60_000);
    t.mock.timers.reset();
    const isHeard = once(prompt.socket, "message");
    const last = createSocket("udp4");
    last.send(Buffer.alloc(60), prompt.port, gateway.gateway);
    await isHeard;
    last.close();
    assert.equal(prompt.received.length, 2, "the last word is the second");
  });
}

describe("asking by datagram", { concurrency: true }, () => {
  test("a MAP request is laid out as RFC 6887 says, and its nonce survives a restart", async (t) => {
    const router = await peer(t, (question) => [pcpGrant(question)]);
    const granted = await createPcp({ ...gateway, port: router.port, secret }).map(port, signal());
    assert.deepEqual(granted, {
      externalPort: 443,
      leaseSeconds: 7_200,
      externalAddress: "5.6.7.8",
      epochSeconds: 1_000,
    });
    await createPcp({ ...gateway, port: router.port, secret }).map(port, signal());
    await createPcp({ ...gateway, port: router.port, secret: Buffer.alloc(16, 8) }).map(port, signal());
    const [first, again, other] = router.received;
    const hex = first?.toString("hex") ?? "";
    assert.equal(hex.slice(0, 48), "0201000000001c2000000000000000000000ffff7f000001");
    assert.equal(hex.slice(72), "0600000020fb01bb00000000000000000000ffff00000000");
    assert.deepEqual(again, first);
    assert.notDeepEqual(other?.subarray(24, 36), first?.subarray(24, 36));
  });

  test("a NAT-PMP request is laid out as RFC 6886 says", async (t) => {
    const router = await peer(t, (question) => [natPmpGrant(question)]);
    const speaker = createNatPmp({ ...gateway, port: router.port });
    assert.equal((await speaker.map(port, signal())).leaseSeconds, 7_200);
    await speaker.unmap(port, 443, signal());
    assert.deepEqual(
      router.received.map((one) => one.toString("hex")),
      ["0002000020fb01bb00001c20", "0002000020fb000000000000"],
    );
  });

  for (const [name, create] of Object.entries(speakers)) {
    const grant = grants[name] ?? pcpGrant;
    test(`${name}: a lost answer costs one more question`, async (t) => {
      const lossy = await peer(t, (question, count) => (count === 1 ? [] : [grant(question)]));
      const at = performance.now();
      await create(lossy.port).map(port, signal());
      assert.ok(performance.now() - at >= 249, "asked again too soon");
      assert.equal(lossy.received.length, 2);
      assert.deepEqual(lossy.received[0], lossy.received[1], "the same question");
    });

    test(`${name}: a router that never answers is asked as often as allowed, then called silent`, async (t) => {
      const mute = await peer(t, () => []);
      await assert.rejects(create(mute.port).state(AbortSignal.any([signal()])), { code: "GATEHOUSE_ROUTER_SILENT" });
      assert.equal(mute.received.length, name === "PCP" ? 2 : 3);
    });

    test(`${name}: a closed port is silent at once`, async (t) => {
      const closed = await peer(t, () => []);
      const to = closed.port;
      closed.socket.close();
      t.mock.method(closed.socket, "close", () => closed.socket);
      await assert.rejects(create(to).state(signal()), { code: "GATEHOUSE_ROUTER_SILENT", message: /ECONNREFUSED/ });
    });

    test(`${name}: stopping ends the wait`, async (t) => {
      const mute = await peer(t, () => []);
      const stop = new AbortController();
      const asked = create(mute.port).state(stop.signal);
      stop.abort(new Error("enough"));
      await assert.rejects(asked, /enough/);
    });
  }

  const wrong: [what: string, speaker: string, change: (answer: Buffer) => unknown][] = [
    ["another nonce", "PCP", (answer) => answer.writeUInt8(answer.readUInt8(24) ^ 1, 24)],
    ["another internal port", "PCP", (answer) => answer.writeUInt16BE(1, 40)],
    ["another protocol", "PCP", (answer) => answer.writeUInt8(17, 36)],
    ["another opcode", "PCP", (answer) => answer.writeUInt8(0x80, 1)],
    ["no response bit", "PCP", (answer) => answer.writeUInt8(1, 1)],
    ["another internal port", "NAT-PMP", (answer) => answer.writeUInt16BE(1, 8)],
    ["another opcode", "NAT-PMP", (answer) => answer.writeUInt8(129, 1)],
  ];

  for (const [what, name, change] of wrong) {
    test(`${name}: an answer with ${what} is not taken for ours`, async (t) => {
      const grant = grants[name] ?? pcpGrant;
      const good = (answer: Buffer) => void answer.writeUInt32BE(4_242, name === "PCP" ? 4 : 12);
      const router = await peer(t, (question) => [
        Buffer.alloc(0),
        Buffer.from([0]),
        Buffer.alloc(3_000, 0x80),
        grant(question, change),
        grant(question).subarray(0, 8),
        grant(question, good),
      ]);
      const granted = await speakers[name]?.(router.port).map(port, signal());
      assert.equal(granted?.leaseSeconds, 4_242);
      assert.equal(router.received.length, 1);
    });
  }

  test("an answer from another address than the gateway's is never seen", async (t) => {
    const router = await peer(t, () => []);
    const liar = await peer(t, () => [], "127.0.0.2");
    router.socket.on("message", (question: Buffer, from: RemoteInfo) => {
      liar.socket.send(natPmpGrant(question), from.port, from.address);
    });
    await assert.rejects(createNatPmp({ ...gateway, port: router.port, sendings: 2 }).map(port, signal()), {
      code: "GATEHOUSE_ROUTER_SILENT",
    });
  });

  const refusals: [what: string, speaker: string, bytes: (question: Buffer) => Buffer, code: string, says: RegExp][] = [
    [
      "NAT-PMP's word for an unknown version",
      "PCP",
      () => Buffer.from("0080000100000001", "hex"),
      "GATEHOUSE_ROUTER_REFUSED",
      /UNSUPP_VERSION/,
    ],
    [
      "NOT_AUTHORIZED",
      "PCP",
      (question) => pcpGrant(question, (answer) => answer.writeUInt8(2, 3)),
      "GATEHOUSE_ROUTER_REFUSED",
      /NOT_AUTHORIZED/,
    ],
    [
      "ADDRESS_MISMATCH",
      "PCP",
      (question) => pcpGrant(question, (answer) => answer.writeUInt8(12, 3)),
      "GATEHOUSE_ROUTER_REFUSED",
      /ADDRESS_MISMATCH/,
    ],
    [
      "CANNOT_PROVIDE_EXTERNAL",
      "PCP",
      (question) => pcpGrant(question, (answer) => answer.writeUInt8(11, 3)),
      "GATEHOUSE_ROUTER_CONFLICT",
      /CANNOT_PROVIDE/,
    ],
    [
      "a result of no RFC",
      "PCP",
      (question) => pcpGrant(question, (answer) => answer.writeUInt8(99, 3)),
      "GATEHOUSE_ROUTER_REFUSED",
      /result 99/,
    ],
    [
      "not authorized",
      "NAT-PMP",
      () => Buffer.from("0082000200000001", "hex"),
      "GATEHOUSE_ROUTER_REFUSED",
      /not authorized/,
    ],
    [
      "PCP's word for an unknown version",
      "NAT-PMP",
      () => Buffer.from("0282000100000000000000000000000000000000000000000000", "hex"),
      "GATEHOUSE_ROUTER_REFUSED",
      /version/,
    ],
  ];

  for (const [what, name, bytes, code, says] of refusals) {
    test(`${name}: ${what} ends the question with ${code}`, async (t) => {
      const router = await peer(t, (question) => [bytes(question)]);
      await assert.rejects(speakers[name]?.(router.port).map(port, signal()) ?? Promise.resolve(), (error: unknown) => {
        const { code: got, message } = error as { code: string; message: string };
        assert.equal(got, code);
        assert.match(message, says);
        return true;
      });
      assert.equal(router.received.length, 1);
    });
  }

  test("the waits between questions are the RFCs'", () => {
    assert.deepEqual(natPmpWaits(20), [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000]);
    assert.deepEqual(
      pcpWaits(3, () => 0.5),
      [3_000, 6_000, 12_000],
    );
    for (const random of [() => 0, () => 1]) {
      const [first = 0, second = 0] = pcpWaits(2, random);
      assert.ok(first >= 2_699 && first <= 3_301 && second >= 1.89 * first && second <= 2.11 * first);
    }
  });

  const searchAnswer = (location: string, st = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"): Buffer =>
    Buffer.from(`HTTP/1.1 200 OK\r\nST: ${st}\r\nLOCATION: ${location}\r\nUSN: x\r\n\r\n`);

  test("a search for UPnP is four packets at most, and is called silent after them", async (t) => {
    const mute = await peer(t, () => []);
    const group = { address: "127.0.0.1", port: mute.port };
    await assert.rejects(searchRouter({ ...gateway, group, signal: signal() }), { code: "GATEHOUSE_ROUTER_SILENT" });
    assert.equal(mute.received.length, 4);
    for (const one of mute.received)
      assert.match(
        one.toString(),
        /^M-SEARCH \* HTTP\/1\.1\r\nHOST: 239\.255\.255\.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 2\r\n/,
      );
  });

  test("only the gateway's own answer, leading to the gateway, ends a search", async (t) => {
    const device = await peer(t, (_question, count) =>
      count === 1
        ? [
            Buffer.alloc(1_999, 65),
            searchAnswer("http://192.168.1.66:5000/root.xml"),
            searchAnswer("https://127.0.0.1:5000/root.xml"),
            searchAnswer("http://user@127.0.0.1:5000/root.xml"),
            searchAnswer("http://127.0.0.1:5000/tv.xml", "urn:schemas-upnp-org:device:MediaServer:1"),
            searchAnswer("http://127.0.0.1:5000/root.xml"),
          ]
        : [],
    );
    const group = { address: "127.0.0.1", port: device.port };
    const found = await searchRouter({ ...gateway, group, signal: signal() });
    assert.equal(found.href, "http://127.0.0.1:5000/root.xml");
    const neighbour = await peer(t, () => [searchAnswer("http://127.0.0.1:5000/root.xml")], "127.0.0.2");
    await assert.rejects(
      searchRouter({ ...gateway, group: { address: "127.0.0.2", port: neighbour.port }, signal: signal() }),
      {
        code: "GATEHOUSE_ROUTER_SILENT",
      },
    );
  });

  test("a search answer that is none is skipped", () => {
    for (const text of [
      "",
      "NOTIFY * HTTP/1.1\r\n\r\n",
      "HTTP/1.1 200 OK\r\n\r\n",
      "HTTP/1.1 404 Not Found\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://10.0.0.1/\r\n\r\n",
    ]) {
      assert.equal(readSearchAnswer(text, "10.0.0.1"), undefined);
    }
  });
});
