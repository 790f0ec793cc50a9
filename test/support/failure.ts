/**
 * What a piece of work fails with, when it has to fail in words.
 */
import assert from "node:assert/strict";
import { type GatehouseError, isGatehouseError } from "../../src/core/errors.ts";

export async function failureOf(work: Promise<unknown>): Promise<GatehouseError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(isGatehouseError(error), `it should have failed in words: ${String(error)}`);
  return error;
}
