/**
 * The project's list of attacks and of timing scripts, row by row: where each is proven. A row without a test, and a test
 * that is no longer there, fail here.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/** A file below test/, and words that stand in it: of a test's name, or of a case in its data. */
type Proof = readonly [file: string, words: string];

const slow = "proxy/abuse-slow.test.ts";
const flood = "proxy/abuse-flood.test.ts";
const crumbs = "proxy/abuse-crumbs.test.ts";
const targets = "proxy/abuse-targets.test.ts";
const machine = "proxy/abuse-machine.test.ts";
const strangers = "proxy/abuse-strangers.test.ts";
const h2 = "proxy/h2-abuse.test.ts";
const h2Attacks = "support/h2-attacks.ts";

const ATTACKS: Record<string, readonly Proof[]> = {
  "S1 slow headers": [
    [slow, "S1 a head that drips"],
    [slow, "S1 half a head, then silence"],
    [h2, "a head in drops are cut in time"],
  ],
  "S2 slow body": [
    [slow, "S2 a body that drips"],
    [slow, "S2 chunks of one byte that drip"],
  ],
  "S3 slow reading": [
    [slow, "S3 an answer that nobody reads"],
    ["proxy/h2.test.ts", "a client that never opens its window is cut"],
  ],
  "S4 idle TCP, dripped ClientHello": [
    [slow, "S4 a ClientHello that drips"],
    [slow, "S4 no ClientHello at all"],
  ],
  "S5 handshake flood": [
    [flood, "S5 ten thousand half-open handshakes"],
    ["proxy/front-bounds.test.ts", "handshakes have a limit of their own"],
  ],
  "S6 renegotiation": [
    ["proxy/front.test.ts", "a client cannot renegotiate"],
    ["tls/contexts.test.ts", "a client's wish to renegotiate is refused"],
  ],
  "S7 storm of TLS errors": [[slow, "S7 what is no TLS"]],
  "S8 all connections taken": [
    [flood, "S8 when kept connections take every place"],
    ["proxy/front-bounds.test.ts", "the newest of the largest idle crowd goes"],
  ],
  "S9 rapid reset": [[h2Attacks, "rapid reset (CVE-2023-44487)"]],
  "S10 MadeYouReset": [[h2Attacks, "MadeYouReset by a window of nothing"]],
  "S11 CONTINUATION flood": [
    [h2Attacks, "CONTINUATION without end"],
    [h2Attacks, "empty CONTINUATION without end"],
  ],
  "S12 floods of small frames": [
    [h2Attacks, "a PING flood"],
    [h2Attacks, "a SETTINGS flood"],
    [h2Attacks, "a flood of empty DATA"],
    [h2Attacks, "a PRIORITY flood"],
    [h2Attacks, "a WINDOW_UPDATE flood"],
  ],
  "S13 HPACK bomb": [
    [h2Attacks, "an HPACK bomb"],
    [h2Attacks, "HPACK table sizes up and down"],
  ],
  "S14 idle HTTP/2 session": [
    ["proxy/h2.test.ts", "a session without streams is closed"],
    [h2, "half a preface"],
  ],
  "S15 window starvation": [[h2, "a hundred streams without a window"]],
  "S16 pipelining": [[slow, "S16 ten thousand requests in one write"]],
  "S17 large heads": [
    [slow, "S17 a long path"],
    [slow, "S17 a head without end"],
  ],
  "S18 unread body": [[slow, "S18 a body that nobody wants"]],
  "S19 lost backpressure": [
    [crumbs, "S19 small chunks for a target that does not read"],
    [crumbs, "S19 chunks of one byte without end are cut"],
    ["proxy/compat.test.ts", "a client that does not read stops the target"],
    ["journey/flat-memory.test.ts", "hold memory growth under 60 MB"],
  ],
  "S20 abort races": [
    ["journey/storms.test.ts", "10,000 aborted downloads"],
    ["journey/storms.test.ts", "2,000 aborted upgrades"],
  ],
  "S21 target never answers": [
    [targets, "never answers (S21)"],
    [targets, "stalls in its answer (S21)"],
  ],
  "S22 target breaks off": [[targets, "closes in the middle of a chunked answer (S22)"]],
  "S23 target sends garbage": [[targets, "writes a head without end (S23)"]],
  "S24 retry storm": [[machine, "S24 a target that is off or hangs up"]],
  "S25 decompression bomb": [[targets, "S25 S26 what is compressed goes through as it is"]],
  "S26 own compression": [[targets, "S25 S26 what is compressed goes through as it is"]],
  "S27 WebSockets": [
    [flood, "tunnels: 2"],
    ["proxy/upgrade.test.ts", "silence in both directions ends a tunnel"],
    ["proxy/upgrade.test.ts", "500 upgrades aborted at every moment"],
  ],
  "S28 labels of metrics": [[flood, "S28 S29 names that nobody has leave no series"]],
  "S29 growth of caches": [
    [flood, "S28 S29 names that nobody has leave no series"],
    ["tls/contexts.test.ts", "10,000 names cost no more contexts than the bound"],
  ],
  "S30 log injection and flooding": [
    [targets, "what a client writes stays one line of the log"],
    ["observe/access-log.test.ts", "whatever strangers send, the line is one JSON object"],
  ],
  "S31 disk full": [
    [machine, "S31 a log that cannot be written"],
    ["storage/files.test.ts", "a full disk is found by probe"],
  ],
  "S32 orders by SNI": [
    [flood, "S32 handshakes for names that nobody has"],
    ["tls/sni.test.ts", "a name taken out of the configuration is unknown at once"],
    ["journey/on-demand.test.ts", "nobody else gets one"],
  ],
  "S33 the way of the challenges": [
    [strangers, "S33 S45 the plain port"],
    ["acme/challenges.test.ts", "is nobody's and leads nowhere"],
  ],
  "S34 challenges and two instances": [["acme/challenges.test.ts", "by another process from storage"]],
  "S35 open proxy": [[strangers, "S35 nothing a stranger writes chooses whom Gatehouse asks"]],
  "S36 targets that lead back": [[machine, "S36 a site that leads back to Gatehouse is told 508"]],
  "S37 names of targets": [
    ["proxy/upstream-reach.test.ts", "a name is looked up for each new connection"],
    ["proxy/upstream-reach.test.ts", "a resolver that never answers"],
  ],
  "S38 private endpoints": [
    ["observe/health.test.ts", "by pointing its own name here"],
    ["admin/socket.test.ts", "the socket is for its user alone"],
  ],
  "S39 spoofed forwarding headers": [
    ["proxy/rules.test.ts", "a stranger's forwarding headers are not believed"],
    ["journey/passthrough.test.ts", "a header from anybody else is no header"],
  ],
  "S40 SNI is not Host": [["proxy/front.test.ts", "a name of one connection does not open another site: 421"]],
  "S41 enumeration of hosts": [
    [strangers, "S41 a name that is not for this connection"],
    ["proxy/front.test.ts", "a name whose certificate is not there yet is refused the same way"],
  ],
  "S42 brute force": [["observe/access-log.test.ts", "an access line has the fields that other programs know"]],
  "S43 TCP ports": [
    ["forward/tcp.test.ts", "silence in both directions ends a session"],
    ["forward/tcp.test.ts", "there are never more sessions than the port may have"],
  ],
  "S44 UDP ports": [
    ["forward/udp.test.ts", "a sender that never answers gets at most three times what it sent"],
    ["forward/udp.test.ts", "5,000 clients stay within the bound"],
  ],
  "S45 the plain port": [
    [strangers, "S33 S45 the plain port"],
    ["corpus/plain-port.test.ts", "each attack on the plain port"],
  ],
  "S46 redirect loops with a target": [[targets, "S46 a target that sends everybody to https"]],
  "S47 replay of early data": [[strangers, "S47 no early data is offered"]],
  "S48 hash flooding, prototypes": [
    ["corpus/data/http1-requests.json", "__proto__ name"],
    ["house/launcher.test.ts", "a missing runtime is fetched once"],
  ],
  "S49 stalls of the loop": [
    [strangers, "S49 no text of a stranger or a target"],
    [strangers, "S49 nothing waits for the disk or for a key"],
  ],
  "S50 an error nobody caught": [
    [machine, "S50 a mistake that nobody caught"],
    [machine, "S50 a worker that makes a mistake"],
  ],
  "S51 supply chain": [["house/dependencies.test.ts", "S51 every dependency has one exact version"]],
  "S52 configured header values": [["config/cases/headers.txt", "has characters that no header may carry"]],
};

const TIMING: Record<string, readonly Proof[]> = {
  "T01 a late body after the target's own timeout": [["corpus/timing.test.ts", "T01"]],
  "T02 an early refusal": [["corpus/timing.test.ts", "T02"]],
  "T03 0.CL at our own answers": [
    ["corpus/timing.test.ts", "T03 T04"],
    ["proxy/plain.test.ts", "(T03, T04)"],
  ],
  "T04 CL.0 at our own answers": [
    ["corpus/timing.test.ts", "T03 T04"],
    ["proxy/plain.test.ts", "(T03, T04)"],
  ],
  "T05 early bytes behind an upgrade": [["proxy/upgrade.test.ts", "(T05)"]],
  "T06 a second answer": [
    ["corpus/timing.test.ts", "T06"],
    ["proxy/upstream-answers.test.ts", "a word from the target on an idle connection"],
  ],
  "T07 an upload that is left": [["corpus/timing.test.ts", "T07"]],
  "T08 another Host than SNI": [["proxy/front.test.ts", "does not open another site: 421"]],
  "T09 clients that leave at random": [["corpus/timing.test.ts", "T09"]],
  "T10 byte by byte": [
    ["corpus/http1.test.ts", "cut into single bytes"],
    ["corpus/plain-port.test.ts", "T10"],
  ],
  "T11 what follows a refusal": [
    ["corpus/http1.test.ts", "what is pipelined behind a refusal is never a request"],
    ["corpus/plain-port.test.ts", "T11"],
  ],
  "T12 bodies where none may be": [
    ["corpus/data/target-answers.json", "204 with body"],
    ["proxy/upstream-answers.test.ts", "a body behind HEAD"],
  ],
  "T13 DATA after END_STREAM": [["proxy/h2.test.ts", "(T13)"]],
  "T14 a frame inside a header block": [["proxy/h2.test.ts", "(T14)"]],
  "T15 RST_STREAM in an upload": [["proxy/h2.test.ts", "(T15)"]],
  "T16 a target that dies after its head": [["proxy/h2.test.ts", "(T16)"]],
  "T17 fields of the connection": [["proxy/h2.test.ts", "(T17)"]],
  "T18 101 to a stream": [["proxy/h2.test.ts", "(T18)"]],
  "T19 lengths that lie": [["proxy/h2.test.ts", "(T19)"]],
  "T20 WebSocket over HTTP/2": [["proxy/h2-websocket.test.ts", "a WebSocket server inside echoes over a stream"]],
};

const root = new URL("../", import.meta.url);

for (const [what, list, letter, count] of [
  ["attack", ATTACKS, "S", 52],
  ["timing script", TIMING, "T", 20],
] as const) {
  test(`every ${what} of the list has its test`, () => {
    assert.deepEqual(
      Object.keys(list).map((title) => Number(title.split(" ", 1)[0]?.replace(letter, ""))),
      Array.from({ length: count }, (_, at) => at + 1),
    );
    for (const [title, proofs] of Object.entries(list)) {
      assert.ok(proofs.length > 0, title);
      for (const [file, words] of proofs) {
        assert.ok(readFileSync(new URL(file, root), "utf8").includes(words), `${title}: ${words} is not in ${file}`);
      }
    }
  });
}
