/**
 * How long is that, for a person?
 * Owns: lengths of time rounded to two units.
 * Never: is read back by a program (--json has seconds).
 */
const UNITS: readonly [ms: number, letter: string][] = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "m"],
  [1_000, "s"],
];

/** 3d 4h, 12m 5s; never negative. */
export function span(ms: number): string {
  let rest = Math.max(0, ms);
  const parts: string[] = [];
  for (const [size, letter] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count}${letter}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.length === 0 ? "0s" : parts.join(" ");
}
