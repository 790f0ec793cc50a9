/**
 * Which settings does a coming version take?
 * Owns: their names, so that a file written for later gets a straight answer instead of a spelling lesson.
 * Never: accepts one; a setting that is accepted works.
 */
import type { Path } from "./findings.ts";

const TOP = ["status", "storage", "cluster"];
const SITE = ["allow", "deny", "ban", "auth", "limit", "health", "acme", "maintenance"];

export function isLater(block: Path, key: string): boolean {
  if (block.length === 0) return TOP.includes(key);
  return (
    block[0] === "sites" && (block.length === 2 || (block.length === 4 && block[2] === "routes")) && SITE.includes(key)
  );
}
