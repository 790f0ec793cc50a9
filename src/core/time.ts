/**
 * What time is it, and how do people write lengths of time and sizes?
 * Owns: the clock seam (tests hand in their own), durations and sizes with units.
 * Never: reads a file or starts a timer of its own.
 */

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
}

export const systemClock: Clock = { now: () => Date.now() };

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90s`, `1h30m`, `250ms`, `1d` → milliseconds; undefined when it is not a duration. A bare number is not one. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d+(?:ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g))
    total += Number(amount) * (UNITS[unit ?? ""] ?? 0);
  return Number.isSafeInteger(total) ? total : undefined;
}

/** Milliseconds → the shortest form that `parseDuration` reads back exactly. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  let rest = ms;
  let text = "";
  for (const unit of ["d", "h", "m", "s", "ms"]) {
    const size = UNITS[unit] ?? 1;
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text;
}

const SIZES: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1_000,
  MB: 1_000_000,
  GB: 1_000_000_000,
  TB: 1_000_000_000_000,
  KiB: 1_024,
  MiB: 1_048_576,
  GiB: 1_073_741_824,
  TiB: 1_099_511_627_776,
};

/** `20GB`, `512KiB` → bytes; undefined when it is not a size. A bare number is not one. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$/.exec(text);
  if (match === null) return undefined;
  const bytes = Math.round(Number(match[1]) * (SIZES[match[2] ?? ""] ?? 0));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Bytes → the shortest form that `parseSize` reads back exactly: the largest unit that divides it. */
export function formatSize(bytes: number): string {
  if (bytes === 0) return "0B";
  const [unit, size] = Object.entries(SIZES)
    .filter(([, size]) => bytes % size === 0)
    .reduce((best, next) => (next[1] > best[1] ? next : best), ["B", 1]);
  return `${bytes / size}${unit}`;
}
