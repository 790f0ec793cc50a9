/**
 * A short run of the HTTP/2 fuzzers: header blocks are judged by nghttp2, frames by a slow reading of RFC 9113.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fuzz } from "./run.ts";
import { h2Frames } from "./targets/h2-frames.ts";
import { hpack } from "./targets/hpack.ts";

for (const target of [h2Frames, hpack]) {
  test(`${target.name}: no input makes it throw, read on, change its word, or take what its judge refuses`, async () => {
    const { failure, accepted } = await fuzz(target, { seed: 1, executions: 20_000 });
    assert.equal(failure?.what, undefined, `execution ${failure?.execution}: ${failure?.bytes.toString("base64")}`);
    assert.ok(accepted > 1_000, `${accepted} accepted`);
  });
}
