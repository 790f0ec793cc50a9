/**
 * What is read of the kernel's tables, of addresses and of a router's XML, as cases.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBytes, kindOf, readIfInet6, stableGlobal, toBytes } from "../../src/network/addresses.ts";
import { defaultRoutes, defaultRoutes6 } from "../../src/network/gateway.ts";
import { onGateway } from "../../src/network/upnp-search.ts";
import { readServices } from "../../src/network/upnp.ts";
import { escapeXml, findAll, readXml, textOf } from "../../src/network/xml.ts";

const ROUTES = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan0	00000000	0101A8C0	0003	0	0	600	00000000	0	0	0
eth0	00000000	014DA8C0	0003	0	0	100	00000000	0	0	0
eth0	004DA8C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
tun0	00000000	00000000	0001	0	0	0	00000000	0	0	0
vpn0	00000000	0100000A	0003	0	0	0	00000080	0	0	0
dead	00000000	0100000A	0203	0	0	0	00000000	0	0	0
`;

test("the default gateway is the one of the lowest metric that is up and has an address", () => {
  assert.deepEqual(
    defaultRoutes(ROUTES).map((route) => [route.interface, route.gateway]),
    [
      ["eth0", "192.168.77.1"],
      ["wlan0", "192.168.1.1"],
    ],
  );
  assert.deepEqual(defaultRoutes(""), []);
  assert.deepEqual(defaultRoutes("Iface\nnonsense\n\n"), []);
});

const nothing = "0".repeat(32);
const ROUTES6 = [
  `${nothing} 00 ${nothing} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0`,
  `${nothing} 00 ${nothing} 00 2a000001007700000000000000000001 00000100 00000001 00000000 00000003     eth1`,
  `${nothing} 00 ${nothing} 00 ${nothing} ffffffff 00000001 00000000 00200200       lo`,
  `fe80${"0".repeat(28)} 40 ${nothing} 00 ${nothing} 00000100 00000001 00000000 00000001     eth0`,
].join("\n");

test("the IPv6 gateway is read in the same way, link-local ones with their interface", () => {
  assert.deepEqual(
    defaultRoutes6(ROUTES6).map((route) => route.gateway),
    ["2a00:1:77::1", "fe80::1%eth0"],
  );
});

const IF_INET6 = `00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000c2a1bfffe000001 02 40 20 80     eth0
fd000000000000000c2a1bfffe000001 02 40 00 80     eth0
2a0000010077000005b5a1c3f00dcafe 02 40 00 01     eth0
2a00000100770000aaaaaaaaaaaaaaaa 02 40 00 60     eth0
2a00000100760000bbbbbbbbbbbbbbbb 02 40 00 20     eth0
2a000001007700000c2a1bfffe000001 02 40 00 00     eth0
2a000001008800000c2a1bfffe000001 03 40 00 80    wlan0
`;

test("the stable global IPv6 address is neither temporary nor tentative nor deprecated nor local", () => {
  const all = readIfInet6(IF_INET6);
  assert.equal(stableGlobal(all), "2a00:1:77:0:c2a:1bff:fe00:1");
  assert.equal(stableGlobal(all, "wlan0"), "2a00:1:88:0:c2a:1bff:fe00:1");
  assert.equal(stableGlobal(all, "eth9"), undefined);
  assert.equal(all.length, 7, "the tentative one is left out");
  assert.deepEqual(readIfInet6("nonsense\n"), []);
});

const kinds: [kind: string, addresses: string][] = [
  ["private", "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 fc00:: fdff::1"],
  ["shared", "100.64.0.0 100.127.255.255"],
  [
    "special",
    "0.0.0.0 127.0.0.1 169.254.1.1 192.0.2.1 198.18.0.1 198.19.255.255 203.0.113.9 224.0.0.1 255.255.255.255",
  ],
  ["special", ":: ::1 fe80::1 ff02::1 2001:db8::1 64:ff9b::1 4000::1"],
  [
    "public",
    "9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.167.255.255 223.255.255.255",
  ],
  ["public", "2000::1 2a00:1::1 2001:db7::1 2001:db9::1 3ffe::1"],
  ["none", "1.2.3 example.org 1.2.3.4.5 2a00:::1"],
];

for (const [kind, addresses] of kinds) {
  test(`${addresses.split(" ")[0]} and its like are ${kind}`, () => {
    for (const address of addresses.split(" ")) assert.equal(kindOf(address), kind, address);
  });
}

test("addresses go to sixteen bytes and back", () => {
  for (const address of ["1.2.3.4", "::", "::1", "2a00:1:77::10", "fe80::1", "2a00:1:2:3:4:5:6:7", "1::"]) {
    assert.equal(fromBytes(toBytes(address)), address);
  }
  assert.equal(fromBytes(toBytes("fe80::1%eth0")), "fe80::1");
  assert.equal(fromBytes(toBytes("::ffff:1.2.3.4")), "1.2.3.4");
  assert.equal(toBytes("64:ff9b::1.2.3.4").toString("hex"), "0064ff9b000000000000000001020304");
  assert.throws(() => toBytes("example.org"), RangeError);
});

const hostile: [what: string, text: string][] = [
  ["nothing", ""],
  ["no XML", "hello"],
  ["a tag that is not closed", "<a><b></b>"],
  ["tags that cross", "<a><b></a></b>"],
  ["a DOCTYPE with entities", '<!DOCTYPE a [<!ENTITY b "bbb">]><a>&b;</a>'],
  ["an end without a beginning", "</a>"],
  ["an endless comment", "<a><!-- </a>"],
  ["an endless CDATA", "<a><![CDATA[ </a>"],
  ["a depth of a thousand", "<a>".repeat(1_000) + "</a>".repeat(1_000)],
  ["ten thousand elements", `<a>${"<b/>".repeat(10_000)}</a>`],
  ["a megabyte", `<a>${"x".repeat(1_000_000)}</a>`],
  ["a nameless tag", "<a>< ></a>"],
];

for (const [what, text] of hostile) test(`XML with ${what} is refused`, () => assert.equal(readXml(text), undefined));

test("sloppy but well-nested XML is read: prefixes, attributes, comments, CDATA, entities", () => {
  const root = readXml(`<?xml version="1.0"?>
<s:Envelope xmlns:s="x"><!-- a <b> --><s:Body a='1'>
  <u:Name>a &lt;b&gt; &amp;amp; &#65;&#x42; &quot;&unknown;</u:Name><Empty/><C><![CDATA[<raw>]]></C>
</s:Body></s:Envelope>
`);
  assert.ok(root);
  assert.equal(root.name, "Envelope");
  assert.equal(textOf(root, "Name"), 'a <b> &amp; AB "&unknown;');
  assert.equal(textOf(root, "C"), "<raw>");
  assert.equal(textOf(root, "Missing"), undefined);
  assert.equal(findAll(root, "Empty").length, 1);
  assert.equal(textOf(readXml(`<a>${escapeXml(`<"&'>`)}</a>`) ?? root, "a"), `<"&'>`);
});

const location = new URL("http://192.168.77.1:5000/rootDesc.xml");
const description = (service: string): string =>
  `<root><URLBase>http://192.168.77.1:49152/</URLBase><device><serviceList>${service}</serviceList></device></root>`;
const service = (control: string): string =>
  `<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>${control}</controlURL></service>`;

test("a service's address is taken only where it stays on the gateway", () => {
  const controls: [string, string | undefined][] = [
    ["/ctl", "http://192.168.77.1:49152/ctl"],
    ["ctl?x=1", "http://192.168.77.1:49152/ctl?x=1"],
    ["http://192.168.77.1:80/ctl", "http://192.168.77.1/ctl"],
    ["http://192.168.77.2/ctl", undefined],
    ["//evil.example/ctl", undefined],
    ["https://192.168.77.1/ctl", undefined],
    ["file:///etc/passwd", undefined],
  ];
  for (const [control, wanted] of controls) {
    const root = readXml(description(service(control)));
    assert.ok(root);
    assert.equal(readServices(root, location, "192.168.77.1")[0]?.control.href, wanted, control);
  }
  assert.equal(onGateway("http://192.168.77.1:99999/", undefined, "192.168.77.1"), undefined);
});
