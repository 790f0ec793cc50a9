/**
 * Thousands of sites: their routes are made while the loop serves, and are the same.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRouteTable, prepareRouteTable } from "../../src/proxy/rules/routes.ts";
import { siteConfig, targetConfig } from "../support/proxy-lane.ts";

test("thousands of sites come to the same table of routes in pieces as at once", async () => {
  const [page, api] = [targetConfig(80, { text: "a" }), targetConfig(80, { text: "b" })];
  const sites = Array.from({ length: 3_000 }, (_, at) =>
    siteConfig(at % 10 === 0 ? `*.h${at}.test` : `h${at}.test`, page, {
      names: at % 7 === 0 ? [`www.h${at}.test`] : undefined,
      routes: [
        { prefix: "/", target: page, strip: false },
        { prefix: "/api/", target: api, strip: true },
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
