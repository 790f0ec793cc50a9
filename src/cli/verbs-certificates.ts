/**
 * Verbs about certificates.
 * Owns: their names, options and help.
 * Never: does their work.
 */
import { withKeeper } from "./keeper.ts";
import { type Flags, textFlag, type Verbs } from "./verbs.ts";

const READ = { canOrder: false };
const ORDER = { canOrder: true };

export function declareCertificateVerbs(verbs: Verbs): void {
  const { verb, terminal } = verbs;
  const isJson = (flags: Flags): boolean => flags.json === true;
  verb(
    {
      name: "ls",
      about: "List the certificates, least time left first.",
      examples: ["gatehouse ls", "gatehouse ls --json | jq '.certificates[] | select(.secondsLeft < 604800)'"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { listCertificates } = await import("./certificates.ts");
      return withKeeper(flags, terminal, READ, (client) => listCertificates(client, isJson(flags), terminal));
    },
  );
  verb(
    {
      name: "issue [names...]",
      about: "Get certificates now. Where a valid one is there that is not due, nothing happens.",
      examples: ["gatehouse issue home.example.org", "gatehouse issue --all --staging"],
      takes: ["admin", "json"],
      options: [
        ["--all", "every name of the configuration"],
        ["--staging", "rehearse: have the names checked by the CA's staging, which costs nothing"],
        ["--force", "order although a valid one is there that is not due"],
        ["--really", "order although the CA's limits say later"],
      ],
    },
    async (flags, names) => {
      const { issueCertificates } = await import("./issue.ts");
      const wanted = { names, all: flags["all"] === true, ...orderFlags(flags), force: flags["force"] === true };
      return withKeeper(flags, terminal, ORDER, (client) =>
        issueCertificates(client, { ...wanted, json: isJson(flags) }, terminal),
      );
    },
  );
  verb(
    {
      name: "renew [names...]",
      about: "Order new certificates now, due or not; the CA's limits hold.",
      examples: ["gatehouse renew home.example.org", "gatehouse renew --all"],
      takes: ["admin", "json"],
      options: [
        ["--all", "every name of the configuration"],
        ["--really", "order although the CA's limits say later"],
      ],
    },
    async (flags, names) => {
      const { issueCertificates } = await import("./issue.ts");
      const wanted = { names, all: flags["all"] === true, ...orderFlags(flags), force: true };
      return withKeeper(flags, terminal, ORDER, (client) =>
        issueCertificates(client, { ...wanted, json: isJson(flags) }, terminal),
      );
    },
  );
  verb(
    {
      name: "auto-renew [names...]",
      about: "Renew what is due, least time left first. A running Gatehouse does this by itself.",
      examples: ["gatehouse auto-renew", "17 3 * * * gatehouse auto-renew --config /etc/gatehouse/gatehouse.yaml"],
      takes: ["admin", "json"],
    },
    async (flags, names) => {
      const { renewWhatIsDue } = await import("./issue.ts");
      return withKeeper(flags, terminal, ORDER, (client) =>
        renewWhatIsDue(client, { names, json: isJson(flags) }, terminal),
      );
    },
  );
  verb(
    {
      name: "revoke <name>",
      about: "Take a certificate back at its CA; a new one with a new key takes its place.",
      examples: ["gatehouse revoke home.example.org", "gatehouse revoke home.example.org --reason keyCompromise"],
      takes: ["admin", "json"],
      options: [
        [
          "--reason <word>",
          "unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation (default: unspecified)",
        ],
      ],
    },
    async (flags, [name = ""]) => {
      const { revokeCertificate } = await import("./retire.ts");
      const wanted = { name, reason: textFlag(flags, "reason") ?? "unspecified", json: isJson(flags) };
      return withKeeper(flags, terminal, ORDER, (client) => revokeCertificate(client, wanted, terminal));
    },
  );
  verb(
    {
      name: "disable <name>",
      about: "Order nothing more for a name; what it has serves on. issue takes it up again.",
      examples: ["gatehouse disable old.example.org", "gatehouse disable old.example.org --json"],
      takes: ["admin", "json"],
    },
    async (flags, [name = ""]) => {
      const { disableName } = await import("./retire.ts");
      return withKeeper(flags, terminal, READ, (client) => disableName(client, name, isJson(flags), terminal));
    },
  );
  verb(
    {
      name: "cleanup",
      about: "Remove certificates, keys and traces of names that the configuration no longer has.",
      examples: ["gatehouse cleanup --dry-run", "gatehouse cleanup"],
      takes: ["admin", "json"],
      options: [["--dry-run", "say what would go, and remove nothing"]],
    },
    async (flags) => {
      const { cleanUp } = await import("./retire.ts");
      return withKeeper(flags, terminal, READ, (client) =>
        cleanUp(client, { isRehearsal: flags["dryRun"] === true, json: isJson(flags) }, terminal),
      );
    },
  );
  verb(
    {
      name: "report [names...]",
      about: "Tell everything about certificates: state, dates, CA, challenge, failures and the next step.",
      examples: ["gatehouse report home.example.org", "gatehouse report --json"],
      takes: ["admin", "json"],
    },
    async (flags, names) => {
      const { reportCertificates } = await import("./show.ts");
      return withKeeper(flags, terminal, READ, (client) => reportCertificates(client, names, isJson(flags), terminal));
    },
  );
  verb(
    {
      name: "show <name>",
      about: "Show a certificate and its chain: names, keys, fingerprints.",
      examples: ["gatehouse show home.example.org", "gatehouse show home.example.org --json | jq -r .sha256"],
      takes: ["admin", "json"],
    },
    async (flags, [name = ""]) => {
      const { showCertificate } = await import("./show.ts");
      return withKeeper(flags, terminal, READ, (client) => showCertificate(client, name, isJson(flags), terminal));
    },
  );
  const acme = verbs.group({
    name: "acme",
    about: "What a CA knows of us.",
    examples: ["gatehouse acme account", "gatehouse acme account --roll-over"],
  });
  acme.verb(
    {
      name: "account",
      about: "Show the accounts at the CAs of the configuration; give each a new key.",
      examples: ["gatehouse acme account", "gatehouse acme account --roll-over"],
      takes: ["admin", "json"],
      options: [["--roll-over", "a new account key (RFC 8555 §7.3.5); certificates are untouched by it"]],
    },
    async (flags) => {
      const { showAccounts } = await import("./show.ts");
      const options = { json: isJson(flags), rollOver: flags["rollOver"] === true };
      return withKeeper(flags, terminal, ORDER, (client) => showAccounts(client, options, terminal));
    },
  );
}

export function declareNotifyVerbs(verbs: Verbs): void {
  const { terminal, client } = verbs;
  const notify = verbs.group({
    name: "notify",
    about: "Alerts: who is told when something needs a person.",
    examples: ["gatehouse notify test", "gatehouse notify test --json"],
  });
  notify.verb(
    {
      name: "test",
      about: "Send a message to everybody under notify: in the configuration; exits 1 when one does not arrive.",
      examples: ["gatehouse notify test", "gatehouse notify test --json"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { testNotify } = await import("./notify.ts");
      return testNotify(await client(flags), flags.json === true, terminal);
    },
  );
}

const orderFlags = (flags: Flags) => ({ staging: flags["staging"] === true, really: flags["really"] === true });
