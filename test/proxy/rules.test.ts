/**
 * Hosts, routes, the one decision, and the headers of both sides: pure functions, so cases are data.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { SiteConfig } from "../../src/config/model.ts";
import { errorAnswer, redirectAnswer, statusFor } from "../../src/proxy/responses.ts";
import { identifyClient, relayedTrailers, requestHeaders, responseHeaders } from "../../src/proxy/rules/headers.ts";
import { createRules, decide } from "../../src/proxy/rules/policy.ts";
import { type RequestHead, valuesOf } from "../../src/proxy/rules/request-head.ts";
import { normaliseHost } from "../../src/proxy/rules/routes.ts";
import { MARK, proxyConfig, siteConfig, targetConfig } from "../support/proxy-lane.ts";

function head(changes: Partial<RequestHead> = {}): RequestHead {
  const authority = changes.authority ?? "a.test";
  return {
    method: "GET",
    target: "/",
    version: "1.1",
    authority,
    host: normaliseHost(authority) ?? "",
    headers: ["host", authority],
    scheme: "https",
    peerAddress: "192.0.2.1",
    peerPort: 1,
    localPort: 8443,
    serverName: undefined,
    tlsVersion: undefined,
    body: "none",
    contentLength: 0,
    ...changes,
  };
}

const target = targetConfig(1);
const site = (name: string, changes: Partial<SiteConfig> = {}): SiteConfig => siteConfig(name, target, changes);

for (const [authority, host] of [
  ["a.test", "a.test"],
  ["Ha.Example.org.:8443", "ha.example.org"],
  ["a.test:", "a.test"],
  ["xn--bcher-kva.example", "xn--bcher-kva.example"],
  ["[::1]:8443", "[::1]"],
  ["[2001:DB8::1]", "[2001:db8::1]"],
  ["192.0.2.1:80", "192.0.2.1"],
  ["", undefined],
  [".", undefined],
  ["a..test", undefined],
  ["-a.test", undefined],
  ["a_b.test", undefined],
  ["a.test:65536", undefined],
  ["a.test:-1", undefined],
  ["a.test:80:80", undefined],
  ["a.test/x", undefined],
  ["u@a.test", undefined],
  ["[::1", undefined],
  ["[::1]x", undefined],
  ["[fe80::1%25eth0]", undefined],
  ["::1", undefined],
  [`${"a".repeat(64)}.test`, undefined],
  [`${"a.".repeat(126)}a`, `${"a.".repeat(126)}a`],
  [`${"a.".repeat(127)}ab`, undefined],
  ["bücher.example", undefined],
] as const) {
  test(`the authority ${JSON.stringify(authority.slice(0, 40))} is ${host === undefined ? "refused" : "read as its host"}`, () => {
    assert.equal(normaliseHost(authority), host);
  });
}

test("a host that was accepted is accepted again and stays what it is", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.domain(),
        fc.ipV6().map((text) => `[${text}]`),
      ),
      fc.integer({ min: 0, max: 65_535 }),
      (name, port) => {
        const host = normaliseHost(`${name}:${port}`);
        if (host === undefined) return;
        assert.equal(normaliseHost(host), host);
        assert.match(host, /^[a-z0-9.:[\]-]+$/);
      },
    ),
  );
});

const other = targetConfig(2);
const rules = createRules(
  proxyConfig([
    site("a.test", {
      maxBody: 10,
      routes: [
        { prefix: "/api/", target: other, strip: true },
        { prefix: "/api/v2/", target: other, strip: false },
        { prefix: "/", target, strip: false },
      ],
    }),
    site("only.test", { routes: [{ prefix: "/x", target, strip: false }] }),
    site("*.lab.test"),
    site("nas.lab.test"),
    site("many.test", { names: ["www.many.test", "*.more.test"] }),
    site("*.guest.test", { onDemand: { ask: undefined, match: ["a-*"], perHour: 1, most: 1 } }),
    site("old.test", { routes: [], redirect: { to: "https://new.test{path}", status: 301 } }),
  ]),
  MARK,
);

for (const [name, changes, expected] of [
  ["the exact name wins over the wildcard", { authority: "nas.lab.test" }, "forward nas.lab.test / /"],
  ["a star takes one label", { authority: "pi.lab.test" }, "forward *.lab.test / /"],
  ["a star does not take two labels", { authority: "x.pi.lab.test" }, "refuse 404"],
  ["a star does not take none", { authority: "lab.test" }, "refuse 404"],
  ["upper case, port and trailing dot are one host", { authority: "A.TEST.:8443" }, "forward a.test / /"],
  ["the longest prefix wins", { target: "/api/v2/x" }, "forward a.test /api/v2/ /api/v2/x"],
  ["strip cuts the prefix off and keeps the query", { target: "/api/x?y=/api/" }, "forward a.test /api/ /x?y=/api/"],
  ["a prefix takes its own name without the slash", { target: "/api?q" }, "forward a.test /api/ /?q"],
  ["a prefix ends at a segment", { target: "/apix" }, "forward a.test / /apix"],
  ["what is stripped stays a path", { target: "/api//evil.test/x" }, "forward a.test /api/ //evil.test/x"],
  ["nothing is decoded for routing", { target: "/%61pi/x" }, "forward a.test / /%61pi/x"],
  ["a site without a route for the path says 404", { authority: "only.test", target: "/y" }, "refuse 404"],
  ["a query is no part of the path", { authority: "only.test", target: "/?/x" }, "refuse 404"],
  [
    "a redirect keeps path and query",
    { authority: "old.test", target: "/a?b=$&" },
    "redirect 301 https://new.test/a?b=$&",
  ],
  ["an unknown host says 404", { authority: "b.test" }, "refuse 404"],
  ["an unknown host on a connection for another says 421", { authority: "b.test", serverName: "a.test" }, "refuse 421"],
  [
    "a known host on a connection for another says 421",
    { authority: "nas.lab.test", serverName: "a.test" },
    "refuse 421",
  ],
  [
    "a wildcard connection serves what its certificate covers",
    { authority: "nas.lab.test", serverName: "pi.lab.test" },
    "forward nas.lab.test / /",
  ],
  ["an exact certificate covers no neighbour", { authority: "pi.lab.test", serverName: "nas.lab.test" }, "refuse 421"],
  ["a further name is the same site", { authority: "www.many.test" }, "forward many.test / /"],
  ["a star among further names takes one label", { authority: "x.more.test" }, "forward many.test / /"],
  [
    "the names of one certificate share a connection",
    { authority: "many.test", serverName: "x.more.test" },
    "forward many.test / /",
  ],
  ["a further name opens no other site", { authority: "a.test", serverName: "www.many.test" }, "refuse 421"],
  ["another site opens no further name", { authority: "www.many.test", serverName: "a.test" }, "refuse 421"],
  [
    "a name on demand is served on its own connection",
    { authority: "a-1.guest.test", serverName: "A-1.guest.test" },
    "forward *.guest.test / /",
  ],
  [
    "a name on demand has a certificate of its own, which covers no neighbour",
    { authority: "a-2.guest.test", serverName: "a-1.guest.test" },
    "refuse 421",
  ],
  ["SNI in upper case is the same name", { serverName: "A.Test" }, "forward a.test / /"],
  ["a body over maxBody says 413", { body: "length", contentLength: 11 }, "refuse 413"],
  ["a body of exactly maxBody goes on", { body: "length", contentLength: 10 }, "forward a.test / /"],
  ["OPTIONS * is answered here", { method: "OPTIONS", target: "*" }, "refuse 204"],
  ["* with another method is refused", { target: "*" }, "refuse 400"],
] as [string, Partial<RequestHead>, string][]) {
  test(name, () => {
    const decision = decide(head(changes), rules, { draining: false });
    const text =
      decision.kind === "forward"
        ? `forward ${decision.site.name} ${decision.route.prefix} ${decision.path}`
        : decision.kind === "redirect"
          ? `redirect ${decision.status} ${decision.location}`
          : `refuse ${decision.status}`;
    assert.equal(text, expected);
  });
}

test("while draining everything is told to come back", () => {
  const decision = decide(head(), rules, { draining: true });
  assert.deepEqual(decision, { kind: "refuse", site: undefined, status: 503, code: "GATEHOUSE_DRAINING" });
  assert.equal(statusFor("GATEHOUSE_DRAINING"), 503);
});

const trusting = createRules(
  proxyConfig([site("a.test")], { trustedProxies: ["10.0.0.0/8", "2001:db8:1::/48", "192.168.1.1"] }),
  MARK,
);
const forwarded = (...list: string[]): string[] => ["host", "a.test", ...list];

for (const [name, changes, expected] of [
  [
    "a stranger's forwarding headers are not believed",
    { headers: forwarded("x-forwarded-for", "1.1.1.1", "x-forwarded-proto", "http") },
    ["192.0.2.1", "https", "a.test", 443],
  ],
  [
    "a trusted peer is believed",
    { peerAddress: "10.0.0.1", headers: forwarded("x-forwarded-for", "1.1.1.1", "x-forwarded-proto", "http") },
    ["1.1.1.1", "http", "a.test", 80],
  ],
  [
    "the walk goes right to left to the first untrusted",
    { peerAddress: "10.0.0.1", headers: forwarded("x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.2") },
    ["1.1.1.1", "https", "a.test", 443],
  ],
  [
    "several lines are one list",
    {
      peerAddress: "10.0.0.1",
      headers: forwarded("x-forwarded-for", "6.6.6.6", "x-forwarded-for", "1.1.1.1,10.0.0.2"),
    },
    ["1.1.1.1", "https", "a.test", 443],
  ],
  [
    "all trusted: the left-most is the client",
    { peerAddress: "10.0.0.1", headers: forwarded("x-forwarded-for", "10.0.0.3, 10.0.0.2") },
    ["10.0.0.3", "https", "a.test", 443],
  ],
  [
    "what is no address ends the walk",
    { peerAddress: "10.0.0.1", headers: forwarded("x-forwarded-for", "1.1.1.1, unknown, 10.0.0.2") },
    ["10.0.0.2", "https", "a.test", 443],
  ],
  [
    "a port behind an address is cut off",
    { peerAddress: "10.0.0.1", headers: forwarded("x-forwarded-for", "1.1.1.1:5678") },
    ["1.1.1.1", "https", "a.test", 443],
  ],
  [
    "an IPv4-mapped peer is its IPv4 address",
    { peerAddress: "::ffff:192.0.2.9" },
    ["192.0.2.9", "https", "a.test", 443],
  ],
  [
    "an IPv4-mapped peer is trusted as IPv4",
    { peerAddress: "::ffff:192.168.1.1", headers: forwarded("x-forwarded-for", "2001:db8::7") },
    ["2001:db8::7", "https", "a.test", 443],
  ],
  [
    "a trusted IPv6 network is one",
    { peerAddress: "2001:db8:1::5", headers: forwarded("x-forwarded-for", "[2001:db8::7]:99") },
    ["2001:db8::7", "https", "a.test", 443],
  ],
  [
    "the scheme of the chosen hop counts",
    {
      peerAddress: "10.0.0.1",
      headers: forwarded("x-forwarded-for", "1.1.1.1, 10.0.0.2", "x-forwarded-proto", "http, https"),
    },
    ["1.1.1.1", "http", "a.test", 80],
  ],
  [
    "host and port of a trusted peer are believed",
    { peerAddress: "10.0.0.1", headers: forwarded("x-forwarded-host", "b.test:99") },
    ["10.0.0.1", "https", "b.test:99", 99],
  ],
  [
    "a host that is none is not",
    { peerAddress: "10.0.0.1", headers: forwarded("x-forwarded-host", "b.test/x") },
    ["10.0.0.1", "https", "a.test", 443],
  ],
  [
    "the port is the client's, not the listener's",
    { authority: "a.test:9443", localPort: 443 },
    ["192.0.2.1", "https", "a.test:9443", 9443],
  ],
] as [string, Partial<RequestHead>, [string, string, string, number]][]) {
  test(`client: ${name}`, () => {
    const client = identifyClient(head(changes), trusting);
    assert.deepEqual([client.address, client.scheme, client.host, client.port], expected);
    assert.equal(client.forwardedFor, client.address);
  });
}

test("a request id comes from a trusted peer alone, and only when it is well formed", () => {
  const id = (peerAddress: string, value: string) =>
    identifyClient(head({ peerAddress, headers: forwarded("x-request-id", value) }), trusting).requestId;
  assert.equal(id("10.0.0.1", "abc-123"), "abc-123");
  assert.match(id("10.0.0.1", 'a b"<'), /^[0-9a-f-]{36}$/);
  assert.match(id("10.0.0.1", "a".repeat(200)), /^[0-9a-f-]{36}$/);
  assert.match(id("192.0.2.1", "abc-123"), /^[0-9a-f-]{36}$/);
});

test("an IPv6 client is quoted in Forwarded, as RFC 7239 wants it", () => {
  const request = head({ peerAddress: "2001:db8::1", authority: "a.test:8443" });
  const headers = requestHeaders(request, identifyClient(request, trusting), site("a.test"));
  assert.deepEqual(valuesOf(headers, "forwarded"), [
    `for="[2001:db8::1]";host="a.test:8443";proto=https;by=_gatehouse-${MARK}-1`,
  ]);
  assert.deepEqual(valuesOf(headers, "x-forwarded-for"), ["2001:db8::1"]);
});

test("a request that comes back is counted in Forwarded, and refused the fourth time", () => {
  const again = (value: string): RequestHead => head({ forwarded: value, headers: ["forwarded", value] });
  const sent = (request: RequestHead): string =>
    valuesOf(requestHeaders(request, identifyClient(request, rules), site("a.test")), "forwarded").join();
  const statusOf = (request: RequestHead): number => {
    const decision = decide(request, rules, { draining: false });
    return decision.kind === "refuse" ? decision.status : 200;
  };
  let value = sent(head());
  for (const returns of [1, 2, 3]) {
    assert.ok(value.endsWith(`;by=_gatehouse-${MARK}-${returns}`), value);
    assert.equal(statusOf(again(value)), 200);
    value = sent(again(value));
  }
  assert.equal(statusOf(again(value)), 508);
  assert.equal(statusOf(again(`for=1.2.3.4, ${value}, for=5.6.7.8`)), 508, "whoever else writes into it");
  for (const strange of ["", "by=_gatehouse-", "by=_gatehouse-00ff-9", `by=_gatehouse-${MARK}-`, `${MARK}-9`]) {
    assert.equal(statusOf(again(strange)), 200, strange);
    assert.ok(sent(again(strange)).endsWith(`-1`), strange);
  }
});

test("forwardingHeaders: false leaves Host and the request id alone", () => {
  const request = head({
    headers: forwarded(
      "x-forwarded-for",
      "1.1.1.1",
      "forwarded",
      "for=1.1.1.1",
      "x-real-ip",
      "1.1.1.1",
      "accept",
      "*/*",
    ),
  });
  const headers = requestHeaders(request, identifyClient(request, rules), site("a.test", { forwardingHeaders: false }));
  assert.deepEqual(
    headers.filter((_, at) => at % 2 === 0),
    ["host", "accept", "x-request-id"],
  );
});

const OURS = [
  "host",
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
  "x-forwarded-port",
  "forwarded",
  "x-real-ip",
  "x-request-id",
];
const NEVER = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "expect",
  "content-length",
  "proxy",
];

const fieldName = fc.oneof(
  fc.constantFrom(
    ...OURS.slice(1),
    ...NEVER,
    "x_forwarded_for",
    "cookie",
    "accept",
    "x-a",
    "x-b",
    "x-forwarded-ssl",
    "__proto__",
    "constructor",
  ),
  fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/),
);
const fieldValue = fc.oneof(
  fc.stringMatching(/^[\x21-\x7e]{0,20}$/),
  fc.constantFrom("close", "x-a, x-b", "Host", "X-A", "upgrade,cookie", "1.1.1.1"),
);
const fields = fc.array(fc.tuple(fieldName, fieldValue), { maxLength: 30 }).map((list) => list.flat());

test("whatever a client sends, a target gets one of each of our fields and none of the connection's", () => {
  fc.assert(
    fc.property(fields, fc.boolean(), fc.boolean(), (sent, isTrusted, forwardingHeaders) => {
      const request = head({ headers: ["host", "a.test", ...sent], ...(isTrusted ? { peerAddress: "10.0.0.1" } : {}) });
      const client = identifyClient(request, trusting);
      const headers = requestHeaders(request, client, site("a.test", { forwardingHeaders }));
      const names = headers.filter((_, at) => at % 2 === 0);
      assert.deepEqual(valuesOf(headers, "host"), ["a.test"]);
      assert.equal(valuesOf(headers, "x-request-id").length, 1);
      for (const name of OURS.slice(1, -1))
        assert.equal(valuesOf(headers, name).length, forwardingHeaders ? 1 : 0, name);
      for (const name of NEVER) assert.ok(!names.includes(name), name);
      assert.ok(!names.some((name) => name.includes("_")));
      if (!isTrusted && forwardingHeaders) assert.deepEqual(valuesOf(headers, "x-forwarded-for"), ["192.0.2.1"]);
      const nominated = valuesOf(request.headers, "connection")
        .join(",")
        .toLowerCase()
        .split(",")
        .map((text) => text.trim());
      for (const name of names) if (!OURS.includes(name)) assert.ok(!nominated.includes(name), name);
      // What is left is what was sent, in its order.
      const isKept = (name: string) => !OURS.includes(name);
      const kept = sent.filter(
        (_, at) => isKept(sent[at - (at % 2)] ?? "") && names.includes(sent[at - (at % 2)] ?? ""),
      );
      assert.deepEqual(
        headers.filter((_, at) => isKept(headers[at - (at % 2)] ?? "")),
        kept,
      );
    }),
    { numRuns: 500 },
  );
});

test("whatever a target answers, a client gets no field of the inner connection and the site's own ones", () => {
  const own = site("a.test", {
    responseHeaders: new Map([
      ["server", null],
      ["x-frame-options", "SAMEORIGIN"],
    ]),
  });
  fc.assert(
    fc.property(fields, (sent) => {
      const headers = responseHeaders(["Server", "inner/1.0", "Alt-Svc", "h3", ...sent], own);
      const names = headers.filter((_, at) => at % 2 === 0);
      for (const name of [...NEVER, "server", "alt-svc"]) assert.ok(!names.includes(name), name);
      assert.deepEqual(valuesOf(headers, "x-frame-options"), ["SAMEORIGIN"]);
      assert.deepEqual(
        names,
        names.map((name) => name.toLowerCase()),
      );
    }),
  );
});

test("several Set-Cookie stay several, in order", () => {
  const headers = responseHeaders(["Set-Cookie", "a=1", "X", "y", "set-cookie", "b=2"], site("a.test"));
  assert.deepEqual(valuesOf(headers, "set-cookie"), ["a=1", "b=2"]);
});

test("a trailer cannot frame, route or authorise", () => {
  const sent = [
    "X-Sum",
    "1",
    "Host",
    "evil",
    "Content-Length",
    "5",
    "Authorization",
    "x",
    "Set-Cookie",
    "a",
    "X-Forwarded-For",
    "1",
  ];
  assert.deepEqual(relayedTrailers(sent), ["x-sum", "1"]);
});

test("an error page says what a visitor may know, as HTML or as JSON", () => {
  const facts = { requestId: "id-<1>", accept: "text/html,application/json" };
  const html = errorAnswer(502, facts);
  assert.match(html.body.toString(), /502 Bad Gateway[^]*id-&lt;1&gt;/);
  const json = errorAnswer(502, { ...facts, accept: "application/json" });
  assert.deepEqual(JSON.parse(json.body.toString()), {
    status: 502,
    error: "Bad Gateway",
    message: "The machine behind this address did not give a usable answer.",
    requestId: "id-<1>",
  });
  for (const answer of [html, json, redirectAnswer(308, "https://a.test/")]) {
    assert.deepEqual(valuesOf(answer.headers, "content-length"), [String(answer.body.length)]);
    assert.deepEqual(valuesOf(answer.headers, "cache-control"), ["no-store"]);
  }
  assert.deepEqual(
    [
      "GATEHOUSE_UPSTREAM_REFUSED",
      "GATEHOUSE_UPSTREAM_SLOW",
      "GATEHOUSE_UPSTREAM_NONE",
      "GATEHOUSE_REQUEST_MALFORMED",
      "GATEHOUSE_STORAGE_FAILED",
    ].map((code) => statusFor(code as Parameters<typeof statusFor>[0])),
    [502, 504, 503, 400, 500],
  );
});
