/**
 * `gatehouse add` and `remove`: a site more, a site less.
 * Owns: the edit of `sites:` and making the running Gatehouse take it.
 * Never: touches another line of the file.
 */
import type { AdminClient } from "../admin/client.ts";
import { insertEntry, removeEntry } from "../config/text/edit-text.ts";
import { editConfig } from "../config/edit.ts";
import { GatehouseError } from "../core/errors.ts";
import { EXIT } from "./exit-codes.ts";
import { takeNow } from "./take-now.ts";
import { harmless, printJson, type Terminal } from "./terminal.ts";

export interface SiteEdit {
  file: string;
  name: string;
  json: boolean;
  client: () => Promise<AdminClient>;
}

export async function addSite(edit: SiteEdit, target: string, terminal: Terminal): Promise<number> {
  const { file, name, json, client } = edit;
  const { warnings } = await editConfig(file, terminal.env, (text, { config }) => {
    const wanted = name.toLowerCase();
    const old = config.sites.find((site) => site.name === wanted);
    if (old === undefined) return insertEntry(text, "sites", name, target);
    throw new GatehouseError("GATEHOUSE_CONFIG_INVALID", {
      message: `${name} is a site of ${file} already.`,
      hint: `Change its target there, or take it out first: gatehouse remove ${name}`,
    });
  });
  for (const { path, message, remedy } of warnings) {
    if (path.includes(name)) terminal.err.write(`warning: ${harmless(`${name} ${message}; ${remedy}`)}\n`);
  }
  const isRunning = await takeNow(client, terminal);
  if (json) printJson(terminal, { name, target, running: isRunning });
  else terminal.out.write(`${harmless(`${name} now leads to ${target}`)}\n`);
  return EXIT.ok;
}

export async function removeSite({ file, name, json, client }: SiteEdit, terminal: Terminal): Promise<number> {
  await editConfig(file, terminal.env, (text, { config }) => {
    const without = removeEntry(text, "sites", name) ?? removeEntry(text, "sites", name.toLowerCase());
    if (without !== undefined) return without;
    throw new GatehouseError("GATEHOUSE_SITE_UNKNOWN", {
      message: `${name} is not a site of ${file}.`,
      hint: `There are ${config.sites.map((site) => site.name).join(", ")}.`,
    });
  });
  const isRunning = await takeNow(client, terminal);
  if (json) printJson(terminal, { name, running: isRunning });
  else terminal.out.write(`${harmless(name)} is no longer served; its certificate stays on the disk\n`);
  return EXIT.ok;
}
