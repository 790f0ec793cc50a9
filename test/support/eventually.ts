/**
 * For what has no event of its own: looks again and again, with a deadline and a reason.
 */
import assert from "node:assert/strict";

/**
 * @param options.everyMs  between two looks; more where a look starts a program
 * @throws AssertionError with `what` when it does not hold in time
 */
export async function eventually(
  what: string | (() => string),
  holds: () => boolean | Promise<boolean>,
  options: number | { withinMs?: number; everyMs?: number } = {},
): Promise<void> {
  const { withinMs = 30_000, everyMs = 1 } = typeof options === "number" ? { withinMs: options } : options;
  const until = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > until)
      assert.fail(`not within ${withinMs} ms: ${typeof what === "string" ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
