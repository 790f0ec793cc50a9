/**
 * What requests are called.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RequestIds } from "../../src/core/request-ids.ts";

test("each id is a random UUID as RFC 9562 §5.4 writes it, and none comes twice", () => {
  const ids = new RequestIds();
  const seen = new Set<string>();
  for (let count = 0; count < 1_000; count++) {
    const id = ids.next();
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    seen.add(id);
  }
  assert.equal(seen.size, 1_000);
});
