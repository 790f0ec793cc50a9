/**
 * What do `env:NAME` and `file:/path` hold?
 * Owns: reading them, with a finding where one is missing; which value came from where.
 * Never: shows a value; `check` prints the reference.
 */
import { X509Certificate } from "node:crypto";
import { dirname, resolve } from "node:path";
import { errorText } from "../../core/errors.ts";
import type { Pace } from "../../core/pieces.ts";
import type { Path } from "../findings.ts";
import type { Problem } from "../judge.ts";
import type { SecretRef } from "./leaves.ts";

export interface Sources {
  env: NodeJS.ProcessEnv;
  readFile(path: string): Promise<string>;
}

/** What the sections and sites report to while they are put together. */
export interface Resolver {
  readonly problems: Problem[];
  /** Value → how it was written, for texts that stand elsewhere. */
  readonly references: Map<string, string>;
  report(path: Path, what: string, remedy: string, at: Problem["at"], clashesWith?: Path): void;
  secret(ref: SecretRef, path: Path): Promise<string | undefined>;
  /** PEM text of at least one certificate. */
  certificates(ref: SecretRef, path: Path): Promise<string | undefined>;
  /** Of a file: absolute, from the folder of the configuration on. */
  path(written: string): string;
  /** The same resolver, reporting below `path`. */
  below(path: Path): Resolver;
  /** Asked after each site: is it the turn of those who are served meanwhile? */
  pace: Pace;
}

export function createResolver(configFile: string, sources: Sources, pace: Pace = () => undefined): Resolver {
  const folder = dirname(resolve(configFile));
  const problems: Problem[] = [];
  const references = new Map<string, string>();

  const at = (prefix: Path): Resolver => {
    const report: Resolver["report"] = (path, what, remedy, where, clashesWith) => {
      problems.push({ path: [...prefix, ...path], what, remedy, at: where, clashesWith });
    };
    const secret: Resolver["secret"] = async (ref, path) => {
      if (ref.kind === "text") return ref.text;
      const found =
        ref.kind === "env"
          ? fromEnvironment(ref.name, sources.env)
          : await fromFile(resolve(folder, ref.path), sources);
      if (found.value === undefined) {
        report(path, found.what, found.remedy, "value");
        return undefined;
      }
      references.set(found.value, ref.kind === "env" ? `env:${ref.name}` : `file:${resolve(folder, ref.path)}`);
      return found.value;
    };
    const certificates: Resolver["certificates"] = async (ref, path) => {
      const pem = await secret(ref, path);
      const refusal = pem === undefined ? undefined : pemRefusal(pem);
      if (refusal === undefined) return pem;
      report(path, refusal, "it takes -----BEGIN CERTIFICATE----- blocks (PEM)", "value");
      return undefined;
    };
    return {
      problems,
      references,
      report,
      secret,
      certificates,
      path: (written) => resolve(folder, written),
      below: (path) => at([...prefix, ...path]),
      pace,
    };
  };
  return at([]);
}

type Found = { value: string } | { value: undefined; what: string; remedy: string };

function fromEnvironment(name: string, env: NodeJS.ProcessEnv): Found {
  const value = env[name];
  if (value === undefined)
    return {
      value: undefined,
      what: `the environment variable ${name} is not set`,
      remedy: "set it where Gatehouse is started",
    };
  return value === ""
    ? { value: undefined, what: `the environment variable ${name} is empty`, remedy: "give it a value" }
    : { value };
}

async function fromFile(path: string, sources: Sources): Promise<Found> {
  try {
    // Editors and `echo` end a file with a newline that is no part of the secret.
    const value = (await sources.readFile(path)).replace(/\r?\n$/, "");
    return value === "" ? { value: undefined, what: `${path} is empty`, remedy: "write the value into it" } : { value };
  } catch (error) {
    return { value: undefined, ...fileTrouble(path, error) };
  }
}

/** Why a file cannot be read, and the next step. */
export function fileTrouble(path: string, error: unknown): { what: string; remedy: string } {
  switch ((error as NodeJS.ErrnoException | undefined)?.code) {
    case "ENOENT":
      return { what: `${path} does not exist`, remedy: "create it, or correct the path" };
    case "EACCES":
    case "EPERM":
      return { what: `${path} may not be read`, remedy: "give Gatehouse's user the right to read it" };
    case "EISDIR":
      return { what: `${path} is a folder`, remedy: "name a file in it" };
    default:
      return { what: `${path} cannot be read: ${errorText(error)}`, remedy: "correct the path or the file" };
  }
}

function pemRefusal(pem: string): string | undefined {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) return "there is no certificate in it";
  const broken = blocks.findIndex((block) => !isCertificate(block));
  return broken < 0 ? undefined : `certificate ${broken + 1} of ${blocks.length} is broken`;
}

function isCertificate(block: string): boolean {
  try {
    return new X509Certificate(block).subject !== undefined;
  } catch {
    return false;
  }
}
