/**
 * Verbs about certificates.
 * Owns: their names, options and help.
 * Never: does their work.
 */
import type { Verbs } from "./verbs.ts";

export function declareCertificateVerbs({ verb, client, terminal }: Verbs): void {
  verb(
    {
      name: "ls",
      about: "List the certificates, least time left first.",
      examples: ["gatehouse ls", "gatehouse ls --json | jq '.certificates[] | select(.secondsLeft < 604800)'"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { listCertificates } = await import("./certificates.ts");
      return listCertificates(await client(flags), flags.json === true, terminal);
    },
  );
}
