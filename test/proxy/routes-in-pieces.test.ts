/**
 * Thousands of sites: their routes are made while the loop serves, and are the same.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SiteConfig } from "../../src/config/model.ts";
import { createRouteTable, prepareRouteTable } from "../../src/proxy/rules/routes.ts";

function site(name: string, more: Partial<SiteConfig> = {}): SiteConfig {
  return {
    name,
    routes: [],
    passthrough: undefined,
    redirect: undefined,
    maxBody: 0,
    timeouts: { connectMs: 1, firstByteMs: 1, idleMs: 1, tunnelIdleMs: 1 },
    forwardingHeaders: true,
    responseHeaders: new Map(),
    ...more,
  };
}

test("thousands of sites come to the same table of routes in pieces as at once", async () => {
  const target = (text: string) => ({
    kind: "http" as const,
    text,
    host: text,
    port: 80,
    path: "",
    tls: { verify: true, roots: undefined, serverName: undefined },
  });
  const sites = Array.from({ length: 3_000 }, (_, at) =>
    site(at % 10 === 0 ? `*.h${at}.test` : `h${at}.test`, {
      names: at % 7 === 0 ? [`www.h${at}.test`] : undefined,
      routes: [
        { prefix: "/", target: target("a"), strip: false },
        { prefix: "/api/", target: target("b"), strip: true },
      ],
    }),
  );
  const [atOnce, inPieces] = [createRouteTable(sites), await prepareRouteTable(sites)];
  for (const host of ["h1.test", "x.h10.test", "h10.test", "www.h7.test", "www.h8.test", "h2999.test", "h3000.test"]) {
    const found = inPieces.site(host);
    assert.equal(found, atOnce.site(host), host);
    if (found !== undefined) assert.equal(inPieces.route(found, "/api/x")?.target.text, "b");
  }
  assert.equal(inPieces.site("h2999.test"), sites[2_999]);
});
