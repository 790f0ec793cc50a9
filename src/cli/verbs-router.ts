/**
 * Verbs about the router in front of the home.
 * Owns: their names, options and help.
 * Never: does their work.
 */
import type { Verbs } from "./verbs.ts";

export function declareRouterVerbs({ group, client, terminal }: Verbs): void {
  const router = group({
    name: "router",
    about: "The router in front of the home: does it lead our ports here?",
    examples: ["gatehouse router status", "gatehouse router checklist"],
  });
  router.verb(
    {
      name: "status",
      about: "Show the router, how it can be asked for ports, its address outside, and how each port stands.",
      examples: ["gatehouse router status", "gatehouse router status --json | jq -r .externalAddress"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { showRouter } = await import("./router.ts");
      return showRouter(await client(flags), flags.json === true, terminal);
    },
  );
  router.verb(
    {
      name: "checklist",
      about: "Print the router's port-forwarding form, filled in with the numbers of this network.",
      examples: ["gatehouse router checklist", "gatehouse router checklist --json | jq .forwards"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { showChecklist } = await import("./router.ts");
      return showChecklist(await client(flags), flags.json === true, terminal);
    },
  );
}
