/**
 * Verbs about dynamic DNS.
 * Owns: their names, options and help.
 * Never: does their work.
 */
import type { Verbs } from "./verbs.ts";

export function declareDdnsVerbs(verbs: Verbs): void {
  const { terminal, client } = verbs;
  const ddns = verbs.group({
    name: "ddns",
    about: "Dynamic DNS: names whose addresses follow the home's.",
    examples: ["gatehouse ddns status", "gatehouse ddns update"],
  });
  ddns.verb(
    {
      name: "status",
      about: "Show the home's public address, who told it, and whether each name leads here.",
      examples: ["gatehouse ddns status", "gatehouse ddns status --json | jq -r '.names[].state'"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { showDdns } = await import("./ddns.ts");
      return showDdns(await client(flags), flags.json === true, terminal);
    },
  );
  ddns.verb(
    {
      name: "update",
      about:
        "Look now, and tell the services of names that lead elsewhere, also those that refused before. Exit code 0 when every name leads here, 75 when not yet.",
      examples: ["gatehouse ddns update", "gatehouse ddns update --json"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { updateDdns } = await import("./ddns.ts");
      return updateDdns(await client(flags), flags.json === true, terminal);
    },
  );
}
