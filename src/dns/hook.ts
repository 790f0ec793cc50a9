/**
 * How does a program of the operator's own change a zone?
 * Owns: running it: what it is told, how long it may take, what its exit code means.
 * Never: runs a shell; what is configured is a program and its arguments.
 *
 * It is called as `PROGRAM … ACTION NAME VALUE`, where ACTION is `present` or `clear` (NAME is the whole name of a TXT
 * record) or `address` (VALUE is an address). 0 is done, 75 is "try later" (EX_TEMPFAIL), everything else is a refusal; its
 * last line on stderr is told.
 */
import { spawn } from "node:child_process";
import type { DnsProvider, ProviderSettings } from "./contract.ts";
import { failed, quoted, refused } from "./refusals.ts";

type Settings = Extract<ProviderSettings, { kind: "hook" }>;

const TRY_LATER = 75; // sysexits.h, EX_TEMPFAIL
/** Of what it writes the end is kept; the rest is read and dropped, so that it never blocks. */
const KEPT_CHARACTERS = 2_000;
/** Between the first, polite signal and the last one. */
const TERM_TO_KILL_MS = 2_000;

export function createHook({ command, timeoutMs }: Settings): DnsProvider {
  const [program = "", ...given] = command;

  async function run(action: string, name: string, value: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { code, ended, stderr } = await new Promise<Ended>((resolve, reject) => {
      const child = spawn(program, [...given, action, name, value], {
        stdio: ["ignore", "ignore", "pipe"],
        // Nothing of ours is its business: our environment may hold the secrets of others.
        env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: process.env["HOME"] ?? "/", LANG: "C.UTF-8" },
      });
      let text = "";
      let end: Ended["ended"];
      const finish = (why: Ended["ended"]): void => {
        end ??= why;
        child.kill("SIGTERM");
        setTimeout(() => child.kill("SIGKILL"), TERM_TO_KILL_MS).unref();
      };
      const late = setTimeout(() => finish("late"), timeoutMs);
      const abort = (): void => finish("aborted");
      signal.addEventListener("abort", abort, { once: true });
      const tidy = (): void => {
        clearTimeout(late);
        signal.removeEventListener("abort", abort);
      };
      child.stderr.setEncoding("utf8");
      child.stderr.on("data", (chunk: string) => (text = (text + chunk).slice(-KEPT_CHARACTERS)));
      child.stderr.on("error", () => {});
      child.on("error", (error) => {
        tidy();
        reject(
          refused(
            `the program ${program} could not be started`,
            "Check dnsHook.command: its first part is a file that may be run.",
            error,
          ),
        );
      });
      child.on("close", (exit) => {
        tidy();
        resolve({ code: exit, ended: end, stderr: text });
      });
    });
    signal.throwIfAborted();
    const said = quoted(stderr.trim().split("\n").at(-1) ?? "");
    const words = said === "" ? "" : ` (it says: ${said})`;
    if (ended === "late")
      throw failed(`the program ${program} took longer than ${timeoutMs / 1_000} s to ${action} ${name}${words}`);
    if (code === 0) return;
    if (code === TRY_LATER) throw failed(`the program ${program} asks to try ${action} ${name} later${words}`);
    throw refused(
      `the program ${program} could not ${action} ${name}: exit code ${code ?? "none"}${words}`,
      "Run it by hand with the same arguments; exit code 75 would mean: try later.",
    );
  }

  return {
    kind: "hook",
    oneAtATimeMs: 0,
    present: (name, value, signal) => run("present", name, value, signal),
    clear: (name, value, signal) => run("clear", name, value, signal),
    async setAddresses(name, { ipv4, ipv6 }, signal) {
      if (ipv4 !== undefined) await run("address", name, ipv4, signal);
      if (ipv6 !== undefined) await run("address", name, ipv6, signal);
      return "shown";
    },
  };
}

interface Ended {
  code: number | null;
  ended: "late" | "aborted" | undefined;
  stderr: string;
}
