/**
 * `gatehouse check`: is the file well, and what does it come to?
 * Owns: the resolved configuration on stdout, findings on stderr (with --json, on stdout), exit code 78.
 * Never: touches a running Gatehouse.
 */
import { ConfigInvalid, type Finding, findingText } from "../config/findings.ts";
import { loadConfig } from "../config/load.ts";
import { configAsYaml, writtenOut } from "../config/print.ts";
import { isGatehouseError } from "../core/errors.ts";

export interface TextSink {
  write(text: string): unknown;
}

/** EX_CONFIG of sysexits.h. */
const EXIT_CONFIG = 78;

export async function runCheck(
  file: string,
  { json }: { json: boolean },
  out: TextSink,
  err: TextSink,
): Promise<number> {
  try {
    const { config, warnings, references } = await loadConfig(file, { env: process.env });
    const written = writtenOut(config, references);
    for (const warning of warnings) err.write(`${findingText(warning)} (a warning)\n`);
    out.write(json ? `${JSON.stringify(written, undefined, 2)}\n` : configAsYaml(written));
    return 0;
  } catch (error) {
    if (error instanceof ConfigInvalid) {
      if (json) out.write(asJson(error.findings));
      else err.write(`${error.message}\n${count(error.findings.length)}\n`);
      return EXIT_CONFIG;
    }
    if (!isGatehouseError(error, "GATEHOUSE_CONFIG_UNREADABLE")) throw error;
    const finding = { file, line: 1, column: 1, path: "", message: error.message, remedy: error.hint ?? "" };
    if (json) out.write(asJson([finding]));
    else err.write(`${error.message}; ${finding.remedy}\n`);
    return EXIT_CONFIG;
  }
}

function asJson(findings: readonly Finding[]): string {
  return `${JSON.stringify({ findings }, undefined, 2)}\n`;
}

const count = (findings: number) => (findings === 1 ? "1 finding" : `${findings} findings`);
