/**
 * Why is there no connection to the target, or no longer one?
 * Owns: the error for each way in which a connection ends, with what a person can do.
 * Never: decides whether the request is sent again.
 */
import { errorText, GatehouseError } from "../../core/errors.ts";
import { connectFailure, isTlsCode } from "./dial.ts";

/** It never stood. @param isReached  TCP did, so TLS is what failed */
export function unreachable(cause: Error | undefined, isReached: boolean): GatehouseError {
  return new GatehouseError(connectFailure(cause, isReached), {
    message: `The target cannot be reached: ${cause === undefined ? "it closed the connection" : errorText(cause)}`,
    hint: "Is the machine on, and does it listen on this address and port?",
    cause,
  });
}

/** It stood, and ended before the answer did. */
export function brokenOff(cause: NodeJS.ErrnoException | undefined): GatehouseError {
  const code = cause?.code ?? "";
  const tlsOrReset = isTlsCode(code) ? "GATEHOUSE_UPSTREAM_TLS" : "GATEHOUSE_UPSTREAM_RESET";
  return new GatehouseError(code === "ETIMEDOUT" ? "GATEHOUSE_UPSTREAM_SLOW" : tlsOrReset, {
    message: `The target closed the connection${cause === undefined ? "." : `: ${errorText(cause)}`}`,
    hint: "Its own log may say why.",
    cause,
  });
}
