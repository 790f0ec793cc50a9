/**
 * `gatehouse init`: the first file.
 * Owns: the few questions, the file with its comments, the token in a file of its own.
 * Never: overwrites anything, or asks what has a good default.
 */
import { mkdir, open, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { stringify } from "yaml";
import { loadConfig } from "../config/load.ts";
import { readSmallFile } from "../config/text/read-file.ts";
import { errorText, GatehouseError } from "../core/errors.ts";
import { EXIT } from "./exit-codes.ts";
import { harmless, type Terminal } from "./terminal.ts";

export interface FirstFacts {
  name: string | undefined;
  target: string | undefined;
  email: string | undefined;
  /** A file that holds the DuckDNS token. */
  tokenFile: string | undefined;
  /** As `--witness` has them: commas between, `none` for nobody; undefined: the preset ones. */
  witnesses: string | undefined;
  ca: string;
  /** `:443`, or with an address. */
  https: string;
  http: string;
  /** `router.map`. */
  router: string;
}

interface Answers extends FirstFacts {
  name: string;
  target: string;
  token: string | undefined;
}

/** Resolves to undefined when the file is written; to an exit code when it is not. @throws GATEHOUSE_CONFIG_UNWRITABLE, GATEHOUSE_CONFIG_INVALID */
export async function writeFirstFile(file: string, facts: FirstFacts, terminal: Terminal): Promise<number | undefined> {
  const answers = await complete(facts, terminal);
  if (answers === undefined) {
    terminal.err.write("gatehouse: init takes --name and --target, where nobody can be asked\n");
    return EXIT.usage;
  }
  const { token } = answers;
  const tokenFile = answers.tokenFile ?? (token === undefined ? undefined : join(dirname(file), "duckdns-token"));
  const text = firstFile(answers, tokenFile);
  // Judged before it is written: a name or a target that is wrong is said now.
  await loadConfig(file, {
    env: terminal.env,
    readFile: (path) => {
      if (resolve(path) === resolve(file)) return Promise.resolve(text);
      if (token !== undefined && tokenFile !== undefined && resolve(path) === resolve(tokenFile))
        return Promise.resolve(token);
      return readSmallFile(path);
    },
  });
  await writeNew(file, text);
  try {
    if (token !== undefined && tokenFile !== undefined) await writeNew(tokenFile, `${token}\n`);
  } catch (error) {
    // The file alone would name a token that is not there.
    await rm(file, { force: true });
    throw error;
  }
  terminal.err.write(`${harmless(file)} is written\n`);
  return undefined;
}

async function complete(facts: FirstFacts, { err }: Terminal): Promise<Answers | undefined> {
  const { target } = facts;
  const name = facts.name && wholeName(facts.name, facts.tokenFile !== undefined);
  if (name !== undefined && target !== undefined) return { ...facts, name, target, token: undefined };
  if (!process.stdin.isTTY) return undefined;
  const asking = createInterface({ input: process.stdin, output: err });
  try {
    const ask = async (question: string, given: string | undefined): Promise<string> => {
      for (;;) {
        const answer = given ?? (await asking.question(question)).trim();
        if (answer !== "") return answer;
      }
    };
    const wanted = wholeName(await ask("Name, such as myhome.duckdns.org: ", name), true);
    const isDuck = wanted.endsWith(".duckdns.org") && facts.tokenFile === undefined;
    const token = isDuck ? await ask("Token of the DuckDNS account: ", undefined) : undefined;
    const to = await ask("Machine inside, such as 192.168.0.200:8123: ", target);
    const email = facts.email ?? (await asking.question("E-mail for the CA (may stay empty): ")).trim();
    return { ...facts, name: wanted, target: to, token, email: email === "" ? undefined : email };
  } finally {
    asking.close();
  }
}

/** DuckDNS calls `myhome` a domain. A name without a dot can be nothing else: no public CA signs one. */
const wholeName = (name: string, isDuck: boolean): string =>
  isDuck && !name.includes(".") && name !== "localhost" ? `${name}.duckdns.org` : name;

/** Values are printed by the YAML library: what a person types is no YAML. */
function firstFile(answers: Answers, tokenFile: string | undefined): string {
  const { name, target, email, ca, https, http, router, witnesses } = answers;
  const flow = (value: unknown): string =>
    stringify(value, { collectionStyle: "flow", lineWidth: 0, flowCollectionPadding: true }).trimEnd();
  const lines = [
    "# Written by gatehouse init. `gatehouse check` says whether it is well, `gatehouse doctor` whether the world gets in.",
    "",
    "# Where visitors arrive. The router has to lead 443 and 80 of its outside here; map: auto asks it to, off does not.",
    `listen: ${flow({ https, http })}`,
    `router: ${flow({ map: router })}`,
    "",
    `acme: ${flow({ ca, ...(email === undefined ? {} : { email }) })}`,
    ...(tokenFile === undefined ? [] : ["", `duckdns: ${flow({ token: `file:${resolve(tokenFile)}` })}`]),
    ...(tokenFile === undefined
      ? []
      : ["# Keeps the name at the home's address.", `ddns: ${flow({ names: name, ...told(witnesses) })}`]),
    "",
    "# One line each: the name, and the machine inside. gatehouse add NAME TARGET writes more.",
    "sites:",
    `  ${flow({ [name]: target })
      .replace(/^\{ /, "")
      .replace(/ \}$/, "")}`,
  ];
  return `${lines.join("\n")}\n`;
}

const told = (witnesses: string | undefined): { witnesses?: string[] } =>
  witnesses === undefined
    ? {}
    : { witnesses: witnesses === "none" ? [] : witnesses.split(",").map((one) => one.trim()) };

async function writeNew(file: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    // wx: never over a file that is there. 0600: the token's file is a secret, and the other may name one.
    const handle = await open(file, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (cause) {
    const isThere = (cause as NodeJS.ErrnoException).code === "EEXIST";
    throw new GatehouseError("GATEHOUSE_CONFIG_UNWRITABLE", {
      message: isThere ? `${file} is there already.` : `${file} cannot be written: ${errorText(cause)}`,
      hint: isThere
        ? "init never overwrites. Add a site with gatehouse add NAME TARGET, or name another file with --config FILE."
        : "Name a file in a folder of yours with --config FILE.",
      cause,
    });
  }
}
