/**
 * What is said when the program itself is at fault?
 * Owns: the line for an error that nobody caught, and the end that follows it.
 * Never: goes on: what was half done when it was thrown is not known, and a service manager starts anew within seconds.
 */
import type { Logger } from "./log.ts";

/** A process that lives for years: to end is better than to serve in a state that nobody thought of. */
const EXIT_CODE = 1;

/**
 * For the process of `run` and for each worker: an exception or a rejected promise that reaches the loop is logged with its
 * stack, secrets cut out, and the process ends with 1. Without it Node writes the stack to standard error as it is.
 */
export function sayLastWords(log: Logger): void {
  // Rejections that nobody handles come here, too (Node's default since 15). On "exit" the log writes what waits.
  process.once("uncaughtException", (error: unknown) => {
    log.fatal(
      { event: "process.failed", err: error },
      "a mistake in Gatehouse itself; please report it with this line",
    );
    process.exit(EXIT_CODE);
  });
}
