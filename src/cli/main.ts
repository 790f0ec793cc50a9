#!/usr/bin/env node
/**
 * argv → command → exit code.
 * Owns: the process: its streams, its end.
 * Never: knows a verb.
 */
import { createProgram } from "./program.ts";
import { readVersion } from "./version.ts";

/** `gatehouse ls | head -1`: whoever reads has enough. That is no failure, and nothing to talk about. */
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
/** Talk that nobody hears ends nothing, least of all `run`. */
process.stderr.on("error", () => {});

/** What still holds the loop after the work is done is a mistake, but not one that may hang a stop. */
const LEFTOVERS_MS = 2_000;

const program = createProgram({ out: process.stdout, err: process.stderr, env: process.env }, readVersion());
process.exitCode = await program.run(process.argv.slice(2));
setTimeout(() => process.exit(), LEFTOVERS_MS).unref();
