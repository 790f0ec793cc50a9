/**
 * Which verbs are there, and what do they take?
 * Owns: verbs, options, help texts; the way from arguments to an exit code.
 * Never: does a verb's work; each has its own file, loaded only when it is asked for.
 */
import { Command, CommanderError } from "commander";
import { createAdminClient, type AdminClient } from "../admin/client.ts";
import { EXIT, EXIT_HELP } from "./exit-codes.ts";
import { findAdminSocket, findConfig } from "./find-config.ts";
import { reportError, type Terminal } from "./terminal.ts";

interface Flags {
  config?: string;
  admin?: string;
  json?: boolean;
}

/** One width everywhere: docs/cli.md repeats these texts word for word. */
const HELP_WIDTH = 90;

export interface Program {
  /** Resolves to the exit code; never rejects. `args` without the program's name. */
  run(args: readonly string[]): Promise<number>;
  /** For docs/cli.md. Verb "" is the program itself. */
  help(): { verb: string; text: string }[];
}

export function createProgram(terminal: Terminal, version: string): Program {
  const { env, out, err } = terminal;
  let code: number = EXIT.ok;

  const configured = (command: Command): Command =>
    command
      .exitOverride()
      .configureOutput({
        writeOut: (text) => out.write(text),
        writeErr: (text) => err.write(text),
        outputError: (text, write) => write(text.replace(/^error: /, "gatehouse: ")),
        getOutHelpWidth: () => HELP_WIDTH,
        getErrHelpWidth: () => HELP_WIDTH,
      })
      .helpOption("-h, --help", "this text");

  const program = configured(new Command("gatehouse"))
    .description("A TLS edge for homes: gets its own certificates and forwards by host name.")
    .version(version, "-V, --version", "the version alone")
    .addHelpText("before", examples("gatehouse run --config config/gatehouse.yaml", "gatehouse status"))
    .addHelpText(
      "after",
      `\n${EXIT_HELP}\n\nData goes to standard output, talk to standard error. NO_COLOR is respected.`,
    )
    .helpCommand(false);

  const verb = (
    name: string,
    about: string,
    shown: [string, string],
    act: (flags: Flags) => Promise<number>,
  ): Command => {
    const command = configured(new Command(name))
      .description(about)
      .addHelpText("before", examples(...shown))
      .allowExcessArguments(false)
      .action(async (flags: Flags) => {
        code = await act(flags);
      });
    program.addCommand(command);
    return command;
  };
  const withConfig = (command: Command): Command =>
    command.option(
      "-c, --config <file>",
      "the configuration (GATEHOUSE_CONFIG; config/gatehouse.yaml; /etc/gatehouse/)",
    );
  const withJson = (command: Command): Command => command.option("--json", "print JSON of a stable shape");
  const withAdmin = (command: Command): Command =>
    withConfig(command).option(
      "--admin <path>",
      "the socket of the running Gatehouse (GATEHOUSE_ADMIN; from the file)",
    );
  const client = async (flags: Flags): Promise<AdminClient> => createAdminClient(await findAdminSocket(flags, env));

  withConfig(
    verb(
      "run",
      "Serve, until a signal comes. SIGTERM and SIGINT drain, a second one leaves at once; SIGHUP reloads.",
      ["gatehouse run", "gatehouse run --config /etc/gatehouse/gatehouse.yaml"],
      async (flags) => {
        const { runCommand } = await import("./run.ts");
        return runCommand({ config: findConfig(flags.config, env), version, stderr: err });
      },
    ),
  );
  withJson(
    withConfig(
      verb(
        "check",
        "Judge the configuration: print what it comes to, or every finding with its line.",
        ["gatehouse check", "gatehouse check --config new.yaml --json"],
        async (flags) => {
          const { runCheck } = await import("./check.ts");
          return runCheck(findConfig(flags.config, env), { json: flags.json === true }, out, err);
        },
      ),
    ),
  );
  verb(
    "schema",
    "Print the JSON Schema of the configuration, for editors.",
    ["gatehouse schema", "gatehouse schema > gatehouse.schema.json"],
    async () => {
      const { runSchema } = await import("./schema.ts");
      return runSchema(out);
    },
  );
  withJson(
    withAdmin(
      verb(
        "ls",
        "List the certificates, least time left first.",
        ["gatehouse ls", "gatehouse ls --json | jq '.certificates[] | select(.secondsLeft < 604800)'"],
        async (flags) => {
          const { listCertificates } = await import("./certificates.ts");
          return listCertificates(await client(flags), flags.json === true, terminal);
        },
      ),
    ),
  );
  withJson(
    withAdmin(
      verb(
        "status",
        "Show the running Gatehouse: listeners, sites and their targets, certificates, last reload.",
        ["gatehouse status", "gatehouse status --json | jq .uptimeSeconds"],
        async (flags) => {
          const { showStatus } = await import("./status.ts");
          return showStatus(await client(flags), flags.json === true, terminal);
        },
      ),
    ),
  );
  withJson(
    withAdmin(
      verb(
        "health",
        "Is all well? Exits 0 or 1; 1 also when none is running.",
        ["gatehouse health", 'HEALTHCHECK CMD ["gatehouse", "health"]'],
        async (flags) => {
          const { showHealth } = await import("./status.ts");
          return showHealth(() => client(flags), flags.json === true, terminal);
        },
      ),
    ),
  );
  withJson(
    withAdmin(
      verb(
        "reload",
        "Make the running Gatehouse take its file again. A file with findings is refused: exit 78, the old one serves on.",
        ["gatehouse reload", "gatehouse check && gatehouse reload"],
        async (flags) => {
          const { requestReload } = await import("./status.ts");
          return requestReload(await client(flags), flags.json === true, terminal);
        },
      ),
    ),
  );
  withJson(
    verb(
      "version",
      "Print the version of this program, of Node and of OpenSSL.",
      ["gatehouse version", "gatehouse version --json | jq -r .version"],
      async (flags) => {
        const { showVersion } = await import("./version.ts");
        return showVersion(version, flags.json === true, terminal);
      },
    ),
  );

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
    help: () => [
      { verb: "", text: helpOf(program) },
      ...program.commands.map((command) => ({ verb: command.name(), text: helpOf(command) })),
    ],
  };
}

const examples = (first: string, second: string): string => `Examples:\n  ${first}\n  ${second}\n`;

/** With the added texts, which `helpInformation()` leaves out. */
function helpOf(command: Command): string {
  let text = "";
  const shown = { ...command.configureOutput() };
  command.configureOutput({ ...shown, writeOut: (part) => (text += part) });
  command.outputHelp();
  command.configureOutput(shown);
  return text;
}
