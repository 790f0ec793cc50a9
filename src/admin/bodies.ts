/**
 * What came with a question?
 * Owns: reading a small JSON body, bounded, and taking single values out of it.
 * Never: knows a question.
 */
import type { IncomingMessage } from "node:http";
import { GatehouseError } from "../core/errors.ts";

/** A key and a chain of ten certificates; everything else is a name and a few flags. */
const MAX_BODY_BYTES = 262_144;

/** Undefined when there is none. @throws GATEHOUSE_ADMIN_FAILED when it is too long or no JSON */
export async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw senseless("is too long");
    chunks.push(chunk);
  }
  if (bytes === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw senseless("is no JSON");
  }
}

/** @throws GATEHOUSE_ADMIN_FAILED when it is not there */
export function textIn(body: unknown, member: string): string {
  const value = valueIn(body, member);
  if (typeof value !== "string" || value === "") throw senseless(`has no ${member}`);
  return value;
}

/** NaN when it is no number. */
export function numberIn(body: unknown, member: string): number {
  const value = valueIn(body, member);
  return typeof value === "number" ? value : Number.NaN;
}

/** Undefined when it is left out or empty. */
export function optionalTextIn(body: unknown, member: string): string | undefined {
  const value = valueIn(body, member);
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Left out it is false. */
export const flagIn = (body: unknown, member: string): boolean => valueIn(body, member) === true;

const valueIn = (body: unknown, member: string): unknown =>
  typeof body === "object" && body !== null ? (body as Record<string, unknown>)[member] : undefined;

const senseless = (what: string): GatehouseError =>
  new GatehouseError("GATEHOUSE_ADMIN_FAILED", {
    message: `What came with the question ${what}.`,
    hint: "The command line and the running Gatehouse may differ in version: restart the older one.",
  });
