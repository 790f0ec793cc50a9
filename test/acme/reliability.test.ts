/**
 * What must a client of a CA survive, and which test shows that this one does?
 * Owns: the forty rows, each with the tests that show it; that no row is missing, and that each test named is there.
 * Never: tests anything by itself.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

interface Row {
  event: string;
  /** File below test/ and a piece of the test's name or of its case. */
  shown: readonly (readonly [file: string, text: string])[];
}

const faults = "acme/faults.test.ts";
const orderFaults = "acme/order-faults.test.ts";
const time = "acme/time-faults.test.ts";
const issue = "acme/issue.test.ts";
const orders = "acme/orders.test.ts";
const scheduler = "acme/scheduler.test.ts";
const ari = "acme/renewal-info.test.ts";
const ledger = "acme/ledger.test.ts";
const year = "acme/year.test.ts";
const killed = "acme/killed.test.ts";
const check = "acme/certificate-check.test.ts";
const bundles = "storage/bundles.test.ts";
const files = "storage/files.test.ts";
const disk = "journey/disk.test.ts";

const ROWS: Readonly<Record<number, Row>> = {
  1: {
    event: "badNonce",
    shown: [
      [issue, "every second nonce is refused"],
      [faults, "bad nonces for ever"],
    ],
  },
  2: { event: "newNonce is down", shown: [[faults, "silence where nonces are"]] },
  3: {
    event: "429 with Retry-After",
    shown: [
      [faults, "a rate limit is one POST, not twelve"],
      [time, "the CA wants three days of peace"],
      [scheduler, "what a CA asked for is kept over a restart"],
      [ledger, "what a CA said is kept to over restarts"],
    ],
  },
  4: {
    event: "5xx, HTML, empty, another content type",
    shown: [
      [faults, "HTML 500"],
      [faults, "an empty 503 with Retry-After"],
      [faults, "a login page"],
      [faults, "an order of another shape"],
      [time, "the CA is ill in every way in turn"],
    ],
  },
  5: {
    event: "refused, no DNS, no TLS, a stall at any byte",
    shown: [
      [faults, "a refused port is told apart from an untrusted certificate"],
      [faults, "silence in the middle of the answer"],
      [faults, "a cut line"],
    ],
  },
  6: {
    event: "the directory moved, the terms changed",
    shown: [
      [orderFaults, "a CA that moved is found again"],
      [faults, "a redirect"],
      [faults, "new terms"],
    ],
  },
  7: {
    event: "the account is gone or deactivated",
    shown: [
      [issue, "a CA that forgot us (restarted pebble)"],
      [orders, "an account that was deactivated is made anew"],
    ],
  },
  8: { event: "the account's URL is lost", shown: [[issue, "a lost account.json costs one question"]] },
  9: {
    event: "the order is invalid",
    shown: [
      [issue, "on port 80 the failure says so, and the order is given up"],
      [faults, "that the CA has forgotten or spoilt"],
      [time, "the router is wrong for five days"],
      [scheduler, "after failures the wait is 1, 10, 100 minutes and then a day"],
    ],
  },
  10: {
    event: "processing for long",
    shown: [
      [faults, "an order that stays in processing for too long is kept and continued"],
      [issue, "validation is slow"],
    ],
  },
  11: { event: "an authorization is used again", shown: [[issue, "authorizations are re-used"]] },
  12: {
    event: "an authorization has expired or is withdrawn",
    shown: [[orderFaults, "an authorization that is ${status}"]],
  },
  13: {
    // There is no look at oneself before an order; who answers the CA need not be the process that orders.
    event: "a look at oneself fails where the CA's would not",
    shown: [[killed, "is followed by one that finishes"]],
  },
  14: {
    event: "finalize is heard, its answer is lost",
    shown: [
      [faults, "the order itself is asked, and nothing is ordered twice"],
      [time, "the answer to finalize is lost"],
    ],
  },
  15: {
    event: "a crash between finalize and save",
    shown: [
      [killed, "is followed by one that finishes"],
      [faults, "between finalize and the first byte of the bundle"],
      ["journey/crash.test.ts", "no death costs more than one order"],
    ],
  },
  16: {
    event: "two processes at once",
    shown: [
      [scheduler, "of two processes on one state folder one orders"],
      [issue, "two issuers at once for one name spend one order"],
      [files, "a lock excludes another process"],
    ],
  },
  17: {
    event: "the disk is full",
    shown: [
      [disk, "a full disk: the old certificate serves"],
      [orderFaults, "a disk that fills up after the signature"],
      [files, "a full disk is found by probe"],
    ],
  },
  18: {
    event: "read-only, another owner, open to others",
    shown: [
      [disk, "a read-only disk: a restart serves what is there"],
      [disk, "a state folder of another user"],
      [files, "a key that was open to others is closed when read"],
    ],
  },
  19: {
    event: "a file is torn",
    shown: [
      [bundles, "a file torn at every 64 bytes"],
      [bundles, "a crash before any step of a save leaves the bundle before it"],
      [disk, "after a crash that left damage the generation before it serves"],
    ],
  },
  20: {
    event: "key and certificate of different generations",
    shown: [
      [bundles, "a key of another generation is damage"],
      [disk, "the key is another certificate's"],
    ],
  },
  21: {
    event: "the CA is down at expiry",
    shown: [
      [time, "the CA is gone when the certificate ends"],
      [time, "the first CA never answers and there is a second"],
      ["tls/sni.test.ts", "an expired and a not yet valid certificate still serve"],
    ],
  },
  22: {
    event: "the clock is wrong",
    shown: [
      [ari, "nothing is ordered while our clock and the CA's are more than an hour apart"],
      [time, "the clock is two days ahead until noon"],
      [time, "the clock is two years behind until noon"],
      [ledger, "a clock that was years ahead"],
    ],
  },
  23: { event: "sleep and a jump of the clock", shown: [[scheduler, "after a long sleep"]] },
  24: {
    event: "the certificate was revoked",
    shown: [
      [time, "the CA takes the certificate back after ten days"],
      ["journey/verbs.test.ts", "a new certificate with a new key takes its place"],
      [orderFaults, "a certificate whose account is gone is taken back by its own key"],
    ],
  },
  25: {
    event: "renewal information moves, is late or makes no sense",
    shown: [
      [ari, "one instant is chosen in the window and stays, over restarts"],
      [ari, "counts as no answer"],
      [ari, "a window in the past renews at once"],
      [ari, "a CA that does not answer is left alone for longer each time"],
    ],
  },
  26: {
    event: "somebody else has renewed already",
    shown: [[scheduler, "of two processes on one state folder one orders, both serve"]],
  },
  27: { event: "alternate chains", shown: [[orders, "of several chains the preferred one is taken"]] },
  28: {
    event: "another leaf than the one ordered, or its chain is missing",
    shown: [
      [check, "is turned away"],
      [check, "without its chain"],
      [faults, "a certificate for somebody else is refused"],
      [faults, "a certificate that was cut short is fetched again"],
    ],
  },
  29: {
    event: "certificates of six days, and of an hour",
    shown: [
      ["acme/due.test.ts", "[160 * HOUR, undefined"],
      [year, "short${i}.example.com"],
    ],
  },
  30: {
    event: "the account's key is changed",
    shown: [
      [orders, "the account gets a new key and stays the account"],
      [orders, "loses no account"],
    ],
  },
  31: { event: "an external account is wanted", shown: [[orders, "a CA that wants an external account gets it"]] },
  32: {
    event: "CAA, names that are refused, compound errors",
    shown: [
      [faults, "a CAA refusal"],
      [issue, "a name that the CA does not sign is refused in words"],
      [scheduler, "a refusal is an error in the log with the next step"],
    ],
  },
  33: { event: "the CA has paused the name", shown: [[orderFaults, "a name that the CA has paused"]] },
  34: {
    event: "port 80 is closed, an AAAA record is stale",
    shown: [
      ["acme/dns-01.test.ts", "gives way"],
      ["acme/tls-alpn.test.ts", "a real CA signs by port 443 alone"],
      [orderFaults, "the AAAA record"],
    ],
  },
  35: {
    event: "a redirect swallows the challenge",
    shown: [["proxy/plain.test.ts", "a challenge is answered for any host"]],
  },
  36: { event: "restarts in a loop", shown: [[scheduler, "fifty restarts in a row make one order"]] },
  37: {
    event: "names come, go and change in the middle",
    shown: [
      [scheduler, "a name that leaves the configuration in the middle of its order"],
      ["journey/names.test.ts", "a further one is ordered at once"],
    ],
  },
  38: {
    event: "hundreds of names at the first start",
    shown: [
      [year, "passes no limit"],
      [scheduler, "names without a certificate are ordered first"],
      [ledger, "leaves the rest to people"],
    ],
  },
  39: {
    event: "a swap while serving",
    shown: [
      ["tls/contexts.test.ts", "1,000 swaps under handshakes fail none"],
      ["journey/acme.test.ts", "a WebSocket and a 200 MB download run through unharmed"],
    ],
  },
  40: {
    event: "staging and production, another CA",
    shown: [
      [scheduler, "a certificate of another CA is replaced at once"],
      [scheduler, "failures at one CA do not hold back another"],
      [check, "keeps its account under"],
    ],
  },
};

/** What a real CA is shown to get from us, and what a CA's day can bring besides the rows. */
const BESIDES: readonly Row[] = [
  { event: "http-01", shown: [["journey/acme.test.ts", "from an empty folder to an answer"]] },
  {
    event: "tls-alpn-01",
    shown: [
      ["journey/challenges.test.ts", "with port 443 alone"],
      ["acme/tls-alpn.test.ts", "openssl reads the extension as critical"],
    ],
  },
  {
    event: "dns-01, a wildcard through bind9 with TSIG",
    shown: [
      ["journey/challenges.test.ts", "a wildcard is proved in a zone of one's own"],
      ["acme/dns-01.test.ts", "where _acme-challenge is an alias"],
      ["acme/dns-01.test.ts", "what a crash left in the zone is removed"],
    ],
  },
  { event: "roll-over of the account's key, by hand", shown: [["journey/verbs.test.ts", "--roll-over"]] },
  { event: "revocation, seen at the CA", shown: [["journey/verbs.test.ts", '"Revoked"']] },
  {
    event: "renewal information, profiles and addresses",
    shown: [
      [ari, "with pebble behind a front that adds renewal information"],
      [orders, "a profile is sent where the CA advertises it"],
      [orders, "an address gets a certificate by port 80 and by port 443"],
      ["journey/addresses.test.ts", "an address gets its certificate and is served"],
      ["acme/newer-pebble.test.ts", "the CA's window is kept"],
    ],
  },
  {
    event: "several names, and a rehearsal",
    shown: [["journey/names.test.ts", "issue --staging has the names checked"]],
  },
  { event: "names on demand", shown: [["journey/on-demand.test.ts", "a name below a star is ordered"]] },
  { event: "a wrong answer in DNS", shown: [["acme/dns-01.test.ts", "a record that shows something else"]] },
  {
    event: "a window in the past, and alreadyReplaced",
    shown: [[ari, "a CA that knows the successor hears of it no more"]],
  },
  {
    event: "a challenge solved and never polled",
    shown: [[orderFaults, "a challenge that was solved but never seen to be"]],
  },
  { event: "a CA that hangs", shown: [[faults, '["silence", "newOrder"']] },
  { event: "a year of it all", shown: [[year, "lets no name end that could be renewed"]] },
];

test("each of the forty rows, and what is asked besides, is shown by a test that is there", () => {
  assert.deepEqual(
    Object.keys(ROWS).map(Number),
    Array.from({ length: 40 }, (_, at) => at + 1),
  );
  const texts = new Map<string, string>();
  const missing: string[] = [];
  for (const [row, { event, shown }] of [
    ...Object.entries(ROWS),
    ...BESIDES.map((each) => ["besides", each] as const),
  ]) {
    assert.ok(shown.length > 0, `row ${row}: ${event}`);
    for (const [file, text] of shown) {
      const content = texts.get(file) ?? readFileSync(join(import.meta.dirname, "..", file), "utf8");
      texts.set(file, content);
      if (!content.includes(text)) missing.push(`row ${row} (${event}): ${file} has no ${text}`);
    }
  }
  assert.deepEqual(missing, []);
});
