/**
 * May one more line of this kind go into the log?
 * Owns: a count for each minute, and how many lines were not said since the last one.
 * Never: writes a line.
 *
 * For what strangers can bring about as often as they like: the first few say what happens, `unsaid` says how much of it.
 */
export interface FewAMinute {
  /** How many were not said before this one; undefined: say nothing now. */
  mayI(): number | undefined;
}

const MINUTE_MS = 60_000;

/** @param most  lines in a minute */
export function createFewAMinute(most: number): FewAMinute {
  let minuteEndsAt = 0;
  let said = 0;
  let unsaid = 0;
  return {
    mayI() {
      const now = performance.now();
      if (now >= minuteEndsAt) {
        minuteEndsAt = now + MINUTE_MS;
        said = 0;
      }
      if (said++ >= most) {
        unsaid++;
        return undefined;
      }
      const before = unsaid;
      unsaid = 0;
      return before;
    },
  };
}
