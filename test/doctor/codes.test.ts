/**
 * Every code of the doctor has its words in docs/doctor.md, and every word there is of a code.
 */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "../..");
/** Made of another word where they are used. */
const COMPOSED: Readonly<Record<string, readonly string[]>> = {
  "`CERTIFICATE_${": ["PENDING", "EXPIRED", "REFUSED"].map((state) => `CERTIFICATE_${state}`),
  "`ROUTER_PORT_${": ["WAITING", "CONFLICT", "REFUSED", "SILENT"].map((state) => `ROUTER_PORT_${state}`),
};
/** Errors whose own code is taken over: of a port that cannot be opened, and of a router. */
const TAKEN_OVER = /^ {2}GATEHOUSE_((?:PORT_IN_USE|PORT_FORBIDDEN|LISTEN_FAILED|ROUTER_[A-Z]+)):/gm;
/** Upper case, and no code: errors of the system, which these become. */
const SYSTEM = /^E[A-Z]+(?:_[A-Z]+)?$/;

const found = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, code = ""]) => code);

test("docs/doctor.md has every code once, and no other", async () => {
  const folder = join(ROOT, "src/doctor");
  const sources = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), "utf8")));
  const source = sources.join("\n");
  const codes = new Set(found(source, /"([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*)"/g).filter((code) => !SYSTEM.test(code)));
  for (const code of codes) if (code.startsWith("GATEHOUSE_")) codes.delete(code);
  for (const [beginning, all] of Object.entries(COMPOSED)) {
    assert.ok(source.includes(beginning), `${beginning} is made nowhere any more`);
    for (const code of all) codes.add(code);
  }
  for (const code of found(await readFile(join(ROOT, "src/core/errors.ts"), "utf8"), TAKEN_OVER)) codes.add(code);
  const docs = await readFile(join(ROOT, "docs/doctor.md"), "utf8");
  const written = found(docs.slice(docs.indexOf("## What a code means")), /`([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*)`/g);
  assert.deepEqual(
    written.filter((code, at) => written.indexOf(code) !== at),
    [],
    "written twice",
  );
  assert.deepEqual(written.toSorted(), [...codes].toSorted());
});
