/**
 * Verbs about the program itself: run it, judge its file, ask how it is.
 * Owns: their names, options and help.
 * Never: does their work.
 */
import { findConfig } from "./find-config.ts";
import type { Verbs } from "./verbs.ts";

export function declareRunningVerbs({ verb, client, terminal }: Verbs, version: string): void {
  const { env, out, err } = terminal;
  verb(
    {
      name: "run",
      about: "Serve, until a signal comes. SIGTERM and SIGINT drain, a second one leaves at once; SIGHUP reloads.",
      examples: ["gatehouse run", "gatehouse run --config /etc/gatehouse/gatehouse.yaml"],
      takes: ["config"],
    },
    async (flags) => {
      const { runCommand } = await import("./run.ts");
      return runCommand({ config: findConfig(flags.config, env), version, stderr: err });
    },
  );
  verb(
    {
      name: "check",
      about: "Judge the configuration: print what it comes to, or every finding with its line.",
      examples: ["gatehouse check", "gatehouse check --config new.yaml --json"],
      takes: ["config", "json"],
    },
    async (flags) => {
      const { runCheck } = await import("./check.ts");
      return runCheck(findConfig(flags.config, env), { json: flags.json === true }, out, err);
    },
  );
  verb(
    {
      name: "schema",
      about: "Print the JSON Schema of the configuration, for editors.",
      examples: ["gatehouse schema", "gatehouse schema > gatehouse.schema.json"],
    },
    async () => {
      const { runSchema } = await import("./schema.ts");
      return runSchema(out);
    },
  );
  verb(
    {
      name: "status",
      about: "Show the running Gatehouse: listeners, sites and their targets, certificates, last reload.",
      examples: ["gatehouse status", "gatehouse status --json | jq .uptimeSeconds"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { showStatus } = await import("./status.ts");
      return showStatus(await client(flags), flags.json === true, terminal);
    },
  );
  verb(
    {
      name: "health",
      about: "Is all well? Exits 0 or 1; 1 also when none is running.",
      examples: ["gatehouse health", 'HEALTHCHECK CMD ["gatehouse", "health"]'],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { showHealth } = await import("./status.ts");
      return showHealth(() => client(flags), flags.json === true, terminal);
    },
  );
  verb(
    {
      name: "reload",
      about:
        "Make the running Gatehouse take its file again. A file with findings is refused: exit 78, the old one serves on.",
      examples: ["gatehouse reload", "gatehouse check && gatehouse reload"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { requestReload } = await import("./status.ts");
      return requestReload(await client(flags), flags.json === true, terminal);
    },
  );
  verb(
    {
      name: "version",
      about: "Print the version of this program, of Node and of OpenSSL.",
      examples: ["gatehouse version", "gatehouse version --json | jq -r .version"],
      takes: ["json"],
    },
    async (flags) => {
      const { showVersion } = await import("./version.ts");
      return showVersion(version, flags.json === true, terminal);
    },
  );
}
