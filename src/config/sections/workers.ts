/**
 * How is the number of workers written?
 * Owns: the key `workers`.
 * Never: knows how many cores there are (cluster/count does).
 */
import { Refusal, shown } from "../findings.ts";
import { leaf } from "../values/leaves.ts";

/** Each takes 60 MB or more; no home has as many cores. */
const MAX_WORKERS = 64;

export const workersSchema = leaf(
  {
    doc: "Processes that serve: 1 does everything in one; 2 to 64 are watched over by one more, which keeps certificates and schedules; auto is one for each core.",
    json: { anyOf: [{ type: "integer", minimum: 1, maximum: MAX_WORKERS }, { const: "auto" }] },
  },
  readWorkers,
)
  .prefault(1)
  .meta({ description: "Processes that serve: 1 does everything in one; 2 to 64; or auto, one for each core." });

function readWorkers(value: unknown): number | "auto" | Refusal {
  if (value === "auto") return value;
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= MAX_WORKERS) return value;
  return new Refusal(`${shown(value)} is not a number of workers`, `write 1 to ${MAX_WORKERS}, or auto`);
}
