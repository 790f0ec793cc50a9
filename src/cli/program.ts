/**
 * Which verbs are there?
 * Owns: their list, and the way from arguments to an exit code.
 * Never: does a verb's work; each has its own file, loaded only when it is asked for.
 */
import { Command, CommanderError } from "commander";
import { EXIT, EXIT_HELP } from "./exit-codes.ts";
import { reportError, type Terminal } from "./terminal.ts";
import { createVerbs, dressed, examples, helpTexts } from "./verbs.ts";
import { declareBringVerbs, declareClientCertVerbs } from "./verbs-bring.ts";
import { declareCertificateVerbs, declareNotifyVerbs } from "./verbs-certificates.ts";
import { declareDdnsVerbs } from "./verbs-ddns.ts";
import { declareHomeVerbs } from "./verbs-home.ts";
import { declarePortVerbs } from "./verbs-ports.ts";
import { declareRouterVerbs } from "./verbs-router.ts";
import { declareRunningVerbs } from "./verbs-running.ts";

export interface Program {
  /** Resolves to the exit code; never rejects. `args` without the program's name. */
  run(args: readonly string[]): Promise<number>;
  /** For docs/cli.md. Verb "" is the program itself. */
  help(): { verb: string; text: string }[];
}

export function createProgram(terminal: Terminal, version: string): Program {
  let code: number = EXIT.ok;
  const program = dressed(new Command("gatehouse"), terminal)
    .description("A TLS edge for homes: gets its own certificates and forwards by host name.")
    .version(version, "-V, --version", "the version alone")
    .addHelpText("before", examples("gatehouse run --config config/gatehouse.yaml", "gatehouse status"))
    .addHelpText(
      "after",
      `\n${EXIT_HELP}\n\nData goes to standard output, talk to standard error. NO_COLOR is respected.`,
    )
    .helpCommand(false);
  const verbs = createVerbs(program, terminal, (ended) => (code = ended));
  declareRunningVerbs(verbs, version);
  declareCertificateVerbs(verbs);
  declareBringVerbs(verbs);
  declareClientCertVerbs(verbs);
  declarePortVerbs(verbs);
  declareRouterVerbs(verbs);
  declareDdnsVerbs(verbs);
  declareNotifyVerbs(verbs);
  declareHomeVerbs(verbs);

  return {
    async run(args) {
      try {
        await program.parseAsync(args, { from: "user" });
        return code;
      } catch (error) {
        // Commander has already said it; asked-for help and version are no mistakes.
        if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
        return reportError(terminal, error);
      }
    },
    help: () => helpTexts(program),
  };
}
