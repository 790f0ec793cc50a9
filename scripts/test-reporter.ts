/**
 * node:test's spec reporter, and before its closing numbers every skipped test by name with its reason.
 * Owns: the verdict on skips: in CI as root everything can be installed, so "needs <Debian package>" is a failure there.
 * Never: changes what spec prints.
 */
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { Readable } from "node:stream";
import { spec, type TestEvent } from "node:test/reporters";

const mayNotSkip = process.env["CI"] === "true" && process.getuid?.() === 0;

function debianPackages(): Set<string> {
  const lines = readFileSync(join(import.meta.dirname, "debian-packages.txt"), "utf8").split("\n");
  return new Set(lines.map((line) => line.replace(/#.*/, "").trim()).filter((name) => name !== ""));
}

export default async function* (events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const packages = debianPackages();
  const skipped: string[] = [];

  async function* watched(): AsyncGenerator<TestEvent> {
    for await (const event of events) {
      if (event.type === "test:pass" && event.data.skip !== undefined) note(event.data);
      yield event;
    }
  }

  function note({ name, file, skip }: { name: string; file?: string | undefined; skip?: string | boolean }): void {
    const reason = typeof skip === "string" && skip !== "" ? skip : "no reason given";
    const needs = /^needs ([a-z0-9][a-z0-9.+-]*[a-z0-9+])/.exec(reason)?.[1];
    const isFailure = mayNotSkip && needs !== undefined && packages.has(needs);
    if (isFailure) process.exitCode = 1;
    const where = file === undefined ? "" : ` (${relative(process.cwd(), file)})`;
    skipped.push(isFailure ? `✖ ${name}${where}: ${reason}, and CI installs that` : `﹣ ${name}${where}: ${reason}`);
  }

  let summaryIsDue = true;
  for await (const chunk of Readable.from(watched()).compose(new spec())) {
    const text = String(chunk);
    if (summaryIsDue && text.includes("ℹ tests ")) {
      summaryIsDue = false;
      if (skipped.length > 0) yield `\nskipped, and why:\n${skipped.join("\n")}\n\n`;
    }
    yield text;
  }
}
