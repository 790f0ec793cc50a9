/**
 * Programs from Debian as judges: run one, with a deadline, and say when it is not installed.
 */
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";

export function hasProgram(name: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((folder) => {
    try {
      accessSync(`${folder}/${name}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** For node:test's `skip`: false when the program is there, else the reason. */
export function needs(program: string, debianPackage = program): string | false {
  return hasProgram(program) ? false : `needs ${debianPackage}`;
}

export interface ProgramResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** @param withinMs the program is killed after this long. Default 60_000. */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: { withinMs?: number; input?: string; env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<ProgramResult> {
  const child = spawn(program, args, {
    env: options.env ?? process.env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    signal: AbortSignal.timeout(options.withinMs ?? 60_000),
    killSignal: "SIGKILL",
  });
  const stdout: Buffer[] = [];
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  return { code, stdout: Buffer.concat(stdout).toString(), stderr };
}
