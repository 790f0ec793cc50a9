/**
 * Which names does a configuration speak of?
 * Owns: who needs a certificate of ours, who shows it on the https listener, and who is there in whatever way.
 * Never: knows what there is for a name.
 */
import { isIP } from "node:net";
import type { Config } from "../config/model.ts";
import { tlsNames } from "./ports.ts";

/** Who needs a certificate: the sites, and the ports that end TLS. */
export const namesOf = (config: Config): string[] => [...new Set([...ownNames(config), ...tlsNames(config.ports)])];

/**
 * Of a site whose TLS goes through, the machine behind it has the certificate. Where they are ordered on demand, the names
 * below the star have one, and the star has none.
 */
export const ownNames = ({ sites }: Config): string[] =>
  sites.flatMap(({ name, passthrough, onDemand }) =>
    passthrough === undefined && onDemand === undefined ? [name] : [],
  );

/** What is left out for a mistake is in the file all the same. */
export const namesInFile = (config: Config): Set<string> =>
  new Set([
    ...namesOf(config),
    ...config.quarantined.map(({ name }) => name),
    ...config.sites.flatMap(({ name, names = [] }) => [name, ...names]),
  ]);

/**
 * Those that the guardian can ask our own listener for: of several addresses it would have to come to each, and they are
 * not on this machine where a router translates.
 */
export function askableNames(names: readonly string[]): string[] {
  const addresses = names.filter((name) => isIP(name) !== 0);
  return addresses.length < 2 ? [...names] : names.filter((name) => isIP(name) === 0);
}
