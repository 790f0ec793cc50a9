/**
 * What does a browser fetch when it opens Home Assistant?
 * Owns: a hundred assets by size, as the frontend has them after Brotli: few large scripts, many small chunks.
 * Never: changes from run to run.
 */
const ASSETS: readonly [count: number, bytes: number][] = [
  [1, 400_000],
  [3, 150_000],
  [10, 60_000],
  [30, 20_000],
  [40, 6_000],
  [16, 1_000],
];

/** Large and small mixed, as they are asked for: every seventh of the sorted list, then on from the start. */
export function pageAssets(): { paths: string[]; averageBytes: number } {
  const sizes = ASSETS.flatMap(([count, bytes]) => Array.from({ length: count }, () => bytes));
  const mixed = sizes.map((_, index) => sizes[(index * 7) % sizes.length] ?? 0);
  return {
    paths: mixed.map((bytes, index) => `/bytes/${bytes}/frontend_latest/chunk-${index}.js`),
    averageBytes: sizes.reduce((sum, bytes) => sum + bytes, 0) / sizes.length,
  };
}
