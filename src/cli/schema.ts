/**
 * `gatehouse schema`: what does an editor need to know?
 * Owns: the JSON Schema on stdout.
 * Never: reads a file.
 */
import { schemaText } from "../config/reference.ts";
import type { TextSink } from "./check.ts";

export function runSchema(out: TextSink): number {
  out.write(schemaText());
  return 0;
}
