/**
 * `gatehouse version`: what is this?
 * Owns: reading the version of the package, its words and its JSON.
 * Never: asks a running Gatehouse (status does).
 */
import { readFileSync } from "node:fs";
import { EXIT } from "./exit-codes.ts";
import { printJson, type Terminal } from "./terminal.ts";

/** The same place from src/cli and from dist/cli. */
const PACKAGE = new URL("../../package.json", import.meta.url);

export function readVersion(): string {
  const { version } = JSON.parse(readFileSync(PACKAGE, "utf8")) as { version: string };
  return version;
}

export function showVersion(version: string, json: boolean, terminal: Terminal): number {
  const { node, openssl } = process.versions;
  if (json) printJson(terminal, { version, node, openssl });
  else terminal.out.write(`gatehouse ${version} (node ${node}, openssl ${openssl})\n`);
  return EXIT.ok;
}
