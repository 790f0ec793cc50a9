/**
 * How many processes serve?
 * Owns: what `workers` comes to on this machine.
 * Never: starts one.
 */
import { availableParallelism } from "node:os";
import type { Config } from "../config/model.ts";

/** 1: the one process does everything. `auto` is what the scheduler lets this process use (affinity and cgroups count). */
export function countWorkers({ workers }: Config): number {
  return workers === "auto" ? availableParallelism() : workers;
}
