/**
 * Which names may a site have, at a public CA and at our own? Both edges of every rule.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checkName } from "../../src/core/names.ts";

const label63 = "a".repeat(63);
/** 253 characters: three labels of 63, one of 57, and `.org`. */
const name253 = `${label63}.${label63}.${label63}.${"b".repeat(57)}.org`;

const taken: [text: string, ca: "public" | "local" | "both", name: string][] = [
  ["ha.example.org", "both", "ha.example.org"],
  ["HA.Example.ORG", "both", "ha.example.org"],
  ["ha.example.org.", "both", "ha.example.org"],
  ["example.org", "both", "example.org"],
  ["münchen.de", "both", "xn--mnchen-3ya.de"],
  ["MÜNCHEN.de", "both", "xn--mnchen-3ya.de"],
  ["집.한국", "both", "xn--rc6b.xn--3e0b707e"],
  ["xn--mnchen-3ya.de", "both", "xn--mnchen-3ya.de"],
  ["myhome.duckdns.org", "both", "myhome.duckdns.org"],
  ["ha.myhome.duckdns.org", "both", "ha.myhome.duckdns.org"],
  ["nas.synology.me", "both", "nas.synology.me"],
  ["a-b.example.org", "both", "a-b.example.org"],
  ["1.example.org", "both", "1.example.org"],
  ["1password.zip", "both", "1password.zip"],
  [`${label63}.example.org`, "both", `${label63}.example.org`],
  [name253, "both", name253],
  [`${name253}.`, "both", name253],
  ["localhost", "local", "localhost"],
  ["home.localhost", "local", "home.localhost"],
  ["nas.lan", "local", "nas.lan"],
  ["nas.home.arpa", "local", "nas.home.arpa"],
  ["duckdns.org", "local", "duckdns.org"],
  ["*.example.org", "local", "*.example.org"],
  ["*.Home.localhost.", "local", "*.home.localhost"],
  ["*.bücher.de", "local", "*.xn--bcher-kva.de"],
];

for (const [text, ca, name] of taken) {
  for (const publicCa of ca === "both" ? [true, false] : [ca === "public"]) {
    test(`${text.slice(0, 40)} is a name for ${publicCa ? "a public" : "our own"} CA`, () => {
      assert.deepEqual(checkName(text, { publicCa }), { name });
    });
  }
}

const refused: [text: string, ca: "public" | "both", because: RegExp][] = [
  ["", "both", /is empty/],
  [".", "both", /is empty/],
  ["a".repeat(1_001), "both", /1001 characters/],
  [`${label63}a.example.org`, "both", /label of 64 characters/],
  [`c${name253}`, "both", /label of 64 characters/],
  [`c.${name253}`, "both", /255 characters long/],
  [`${"ü".repeat(58)}.example.org`, "both", /characters in its xn-- form/],
  ["a_b.example.org", "both", /contains _/],
  ["_acme.example.org", "both", /contains _/],
  ["-a.example.org", "both", /hyphen/],
  ["a-.example.org", "both", /hyphen/],
  ["a..example.org", "both", /empty label/],
  [".example.org", "both", /empty label/],
  ["a.example.org..", "both", /empty label/],
  ["a b.example.org", "both", /space/],
  ["a.example.org\t", "both", /space/],
  ["https://a.example.org", "both", /URL/],
  ["a.example.org/b", "both", /slash/],
  ["me@example.org", "both", /@/],
  ["a.example.org:443", "both", /port/],
  ["a,b.example.org", "both", /contains ","/],
  ["a\0b.example.org", "both", /contains/],
  ["a%41.example.org", "both", /contains "%"/],
  ["192.168.0.200", "both", /an address/],
  ["192.168.0.200.", "both", /an address/],
  ["1.2.3", "both", /an address/],
  ["0x7f.1", "both", /an address/],
  ["127.0.0.0x1", "both", /an address/],
  ["fd00::5", "both", /an address/],
  ["[fd00::5]", "both", /an address/],
  ["nas", "both", /single label/],
  ["\u202eabc.example.org", "both", /internationalised/],
  ["ａ\u3002\u3002example.org", "both", /internationalised/],
  ["*", "both", /left-most label/],
  ["*.", "both", /empty label|left-most|whole top/],
  ["a.*.example.org", "both", /left-most label/],
  ["a*.example.org", "both", /left-most label/],
  ["*.*.example.org", "both", /left-most label/],
  ["*.localhost", "both", /whole top-level/],
  ["*.org", "both", /whole top-level/],
  ["*.example.org", "public", /DNS-01/],
  ["localhost", "public", /single label/],
  ["home.localhost", "public", /\.localhost, which no public CA/],
  ["nas.lan", "public", /\.lan, which no public CA/],
  ["nas.home", "public", /\.home, which/],
  ["nas.local", "public", /\.local, which/],
  ["nas.internal", "public", /\.internal, which/],
  ["nas.home.arpa", "public", /\.arpa, which/],
  ["nas.onion", "public", /\.onion, which/],
  ["nas.test", "public", /\.test, which/],
  ["duckdns.org", "public", /public suffix/],
  ["co.uk", "public", /public suffix/],
];

for (const [text, ca, because] of refused) {
  for (const publicCa of ca === "both" ? [true, false] : [true]) {
    test(`${JSON.stringify(text).slice(0, 40)} is no name for ${publicCa ? "a public" : "our own"} CA, and says why`, () => {
      const checked = checkName(text, { publicCa });
      assert.ok("refusal" in checked, JSON.stringify(checked));
      assert.match(checked.refusal, because);
      assert.notEqual(checked.hint, "");
    });
  }
}

test("a wildcard can be refused at a CA that is not public either", () => {
  assert.ok("refusal" in checkName("*.example.org", { publicCa: false, canBeWildcard: false }));
});

test("what comes out of any text is a name of the wire, and stays itself when asked again", () => {
  const piece = fc.oneof(
    fc.string({ unit: "grapheme", maxLength: 12 }),
    fc.constantFrom("*", ".", "-", "xn--", "ü", "org", "1"),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), fc.constantFrom(".", ""), fc.boolean(), (pieces, glue, publicCa) => {
      const checked = checkName(pieces.join(glue), { publicCa });
      if ("refusal" in checked) return;
      assert.match(
        checked.name,
        /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/,
      );
      assert.ok(checked.name.length <= 253);
      assert.deepEqual(checkName(checked.name, { publicCa }), checked);
    }),
    { numRuns: 3_000 },
  );
});
