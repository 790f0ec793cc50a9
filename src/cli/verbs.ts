/**
 * How is a verb declared?
 * Owns: what all verbs share: help with two examples first, --config, --admin and --json, exit codes, groups of verbs.
 * Never: knows which verbs there are (program) or does one's work.
 */
import { Command, Option } from "commander";
import { createAdminClient, type AdminClient } from "../admin/client.ts";
import { findAdminSocket } from "./find-config.ts";
import type { Terminal } from "./terminal.ts";

/** What was written on the command line; a verb names its own options beside these. */
export interface Flags {
  config?: string;
  admin?: string;
  json?: boolean;
  /** A verb's own options; see textFlag. */
  [own: string]: unknown;
}

/** An option that takes a value, when it was given. */
export function textFlag(flags: Flags, name: string): string | undefined {
  const value = flags[name];
  return typeof value === "string" ? value : undefined;
}

export interface VerbFacts {
  /** With its arguments, as commander writes them: `rm <port>`, `issue [names...]`. */
  name: string;
  about: string;
  /** Whole lines; each uses the verb. */
  examples: readonly [string, string];
  /** Which of the shared options it takes. `admin` brings `config` along. */
  takes?: readonly ("config" | "admin" | "json")[];
  /** Its own, as commander writes them: `["--to <target>", "the machine inside"]`. */
  options?: readonly (readonly [flags: string, about: string] | Option)[];
}

export interface Verbs {
  readonly terminal: Terminal;
  /** Loads what it needs when it is called: `gatehouse health` must not load the schema. Resolves to the exit code. */
  verb(facts: VerbFacts, act: (flags: Flags, args: string[]) => Promise<number>): void;
  /** Verbs below a word: `forwards ls`. */
  group(facts: Pick<VerbFacts, "name" | "about" | "examples">): Verbs;
  /** The running Gatehouse that the flags mean. */
  client(flags: Flags): Promise<AdminClient>;
}

/** One width everywhere: docs/cli.md repeats these texts word for word. */
const HELP_WIDTH = 90;

export function createVerbs(root: Command, terminal: Terminal, ended: (code: number) => void): Verbs {
  const below = (parent: Command): Verbs => ({
    terminal,
    client: async (flags) => createAdminClient(await findAdminSocket(flags, terminal.env)),
    verb(facts, act) {
      const [name = "", ...args] = facts.name.split(" ");
      const command = dressed(new Command(name), terminal)
        .description(facts.about)
        .addHelpText("before", examples(...facts.examples))
        .allowExcessArguments(false);
      for (const arg of args) command.argument(arg);
      for (const option of facts.options ?? []) {
        command.addOption(option instanceof Option ? option : new Option(...option));
      }
      const takes = new Set(facts.takes);
      if (takes.has("config") || takes.has("admin")) {
        command.option(
          "-c, --config <file>",
          "the configuration (GATEHOUSE_CONFIG; config/gatehouse.yaml; /etc/gatehouse/)",
        );
      }
      if (takes.has("admin")) {
        command.option("--admin <path>", "the socket of the running Gatehouse (GATEHOUSE_ADMIN; from the file)");
      }
      if (takes.has("json")) command.option("--json", "print JSON of a stable shape");
      command.action(async () => ended(await act(command.opts<Flags>(), command.args)));
      parent.addCommand(command);
    },
    group({ name, about, examples: shown }) {
      const command = dressed(new Command(name), terminal)
        .description(about)
        .addHelpText("before", examples(...shown))
        .helpCommand(false);
      parent.addCommand(command);
      return below(command);
    },
  });
  return below(root);
}

/** Output where it belongs, in the words of this program. */
export const dressed = (command: Command, { out, err }: Terminal): Command =>
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

export const examples = (first: string, second: string): string => `Examples:\n  ${first}\n  ${second}\n`;

/** Every command's help, those below a group included, with the added texts, which `helpInformation()` leaves out. */
export function helpTexts(root: Command): { verb: string; text: string }[] {
  const of = (command: Command, path: string): { verb: string; text: string }[] => [
    { verb: path, text: helpOf(command) },
    ...command.commands.flatMap((one) => of(one, `${path} ${one.name()}`.trimStart())),
  ];
  return of(root, "");
}

function helpOf(command: Command): string {
  let text = "";
  const shown = { ...command.configureOutput() };
  command.configureOutput({ ...shown, writeOut: (part) => (text += part) });
  command.outputHelp();
  command.configureOutput(shown);
  return text;
}
