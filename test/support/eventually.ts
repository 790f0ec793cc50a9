/**
 * For what has no event of its own: looks again and again, with a deadline and a reason.
 */
import assert from "node:assert/strict";

export async function eventually(what: string, holds: () => boolean, withinMs = 30_000): Promise<void> {
  const until = performance.now() + withinMs;
  while (!holds()) {
    if (performance.now() > until) assert.fail(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
