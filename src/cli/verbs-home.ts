/**
 * Verbs of the first hour and of the bad day: init, add, remove, doctor.
 * Owns: their names, options and help.
 * Never: does their work.
 */
import { Option } from "commander";
import { EXIT } from "./exit-codes.ts";
import { findConfig } from "./find-config.ts";
import { harmless } from "./terminal.ts";
import { textFlag, type Verbs } from "./verbs.ts";

const WITNESS = [
  "--witness <urls>",
  "who outside tells the public address: https://… or dns://SERVER/NAME, with commas between; none asks nobody (default: those of ddns.witnesses)",
] as const;

export function declareHomeVerbs({ verb, client, terminal }: Verbs): void {
  const { env } = terminal;
  verb(
    {
      name: "init",
      about:
        "Write the first configuration from a name and a target, and look whether the world would get in. Asks for what is not given. Never overwrites a file.",
      examples: [
        "gatehouse init --config home.yaml",
        "gatehouse init --name myhome.duckdns.org --target 192.168.0.200:8123 --duckdns-token-file duckdns-token",
      ],
      takes: ["json"],
      options: [
        ["-c, --config <file>", "the file to write (GATEHOUSE_CONFIG; gatehouse.yaml)"],
        ["--name <name>", "the name that visitors type; of a name at DuckDNS, the first word is enough"],
        ["--target <target>", "the machine inside, such as 192.168.0.200:8123"],
        ["--email <address>", "for the CA; it may write to you"],
        ["--duckdns-token-file <file>", "where the token of the DuckDNS account stands"],
        new Option("--ca <ca>", "who signs; local signs for this home alone").default("letsencrypt"),
        new Option("--https <address>", "where to listen for HTTPS").default(":443"),
        new Option("--http <address>", "where to listen for HTTP").default(":80"),
        new Option("--router <map>", "whether the router is asked for the ports")
          .choices(["auto", "off"])
          .default("auto"),
        [
          "--witness <urls>",
          "who outside tells the public address, now and for dynamic DNS: https://… or dns://SERVER/NAME, with commas between; none asks nobody (default: three, of which two must agree)",
        ],
      ],
    },
    async (flags) => {
      const { writeFirstFile } = await import("./init.ts");
      const file = flags.config ?? env["GATEHOUSE_CONFIG"] ?? "gatehouse.yaml";
      const witnesses = textFlag(flags, "witness");
      const facts = {
        name: textFlag(flags, "name"),
        target: textFlag(flags, "target"),
        email: textFlag(flags, "email"),
        tokenFile: textFlag(flags, "duckdnsTokenFile"),
        witnesses,
        ca: textFlag(flags, "ca") ?? "letsencrypt",
        https: textFlag(flags, "https") ?? ":443",
        http: textFlag(flags, "http") ?? ":80",
        router: textFlag(flags, "router") ?? "auto",
      };
      const code = await writeFirstFile(file, facts, terminal);
      if (code !== undefined) return code;
      const { runDoctor } = await import("./doctor.ts");
      const found = { file, only: undefined, json: flags.json === true, witnesses, isNew: true };
      await runDoctor({ ...found, client: () => client({ config: file }) }, terminal);
      terminal.err.write(`\nTo start: gatehouse run --config ${harmless(file)}\n`);
      return EXIT.ok;
    },
  );
  verb(
    {
      name: "doctor [name]",
      about:
        "Look at every link from the configuration to the world, and say which is broken and what to do next. Changes nothing; works without a running Gatehouse, too. Exits 1 when there is something to mend.",
      examples: ["gatehouse doctor", "gatehouse doctor ha.example.org --json | jq -r .summary"],
      takes: ["admin", "json"],
      options: [
        WITNESS,
        [
          "--rehearse",
          "have the CA's staging look at the name from outside: the running Gatehouse proves it there, and nothing is signed",
        ],
      ],
    },
    async (flags, [only]) => {
      const { runDoctor } = await import("./doctor.ts");
      const file = findConfig(flags.config, env);
      const witnesses = textFlag(flags, "witness");
      const asked = { file, only, json: flags.json === true, witnesses, rehearse: flags["rehearse"] === true };
      return runDoctor({ ...asked, client: () => client(flags) }, terminal);
    },
  );
  verb(
    {
      name: "add <name> <target>",
      about: "Write a site into the configuration and serve it. Every other line of the file stays as it is.",
      examples: [
        "gatehouse add ha.example.org 192.168.0.200:8123",
        "gatehouse add nas.example.org https://192.168.0.202:5001",
      ],
      takes: ["admin", "json"],
    },
    async (flags, [name = "", target = ""]) => {
      const { addSite } = await import("./add.ts");
      const file = findConfig(flags.config, env);
      return addSite({ file, name, json: flags.json === true, client: () => client(flags) }, target, terminal);
    },
  );
  verb(
    {
      name: "remove <name>",
      about: "Take a site out of the configuration; it is no longer served.",
      examples: ["gatehouse remove nas.example.org", "gatehouse remove nas.example.org --json"],
      takes: ["admin", "json"],
    },
    async (flags, [name = ""]) => {
      const { removeSite } = await import("./add.ts");
      const file = findConfig(flags.config, env);
      return removeSite({ file, name, json: flags.json === true, client: () => client(flags) }, terminal);
    },
  );
}
