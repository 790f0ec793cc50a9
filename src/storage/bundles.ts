/**
 * Which certificate do we hold for a name?
 * Owns: the bundle (key, chain, metadata as one generation folder, switched by one rename of `current`), its checks.
 * Never: orders or serves.
 *
 * certs/<name>/<generation>/{key.pem,chain.pem,meta.json} and certs/<name>/current, a file with the generation's name.
 * A generation is never changed once written, so whatever `current` says, its three files belong together; meta.json
 * comes last and carries the digests of the other two, so a generation that was cut short is known for one.
 */
import { createHash, randomBytes } from "node:crypto";
import { GatehouseError, errorText } from "../core/errors.ts";
import { checkBundle } from "./check-bundle.ts";
import type { Storage } from "./contract.ts";
import { isKeyPart } from "./key-grammar.ts";

/** The `ca` of a certificate that a person brought, when its CA is none of ours to ask. */
export const IMPORTED = "imported";

export interface CertificateBundle {
  /** The site name it is stored under: `home.example.org` or `*.lab.example.org`. */
  name: string;
  /** DNS names in the leaf. */
  names: readonly string[];
  /** PKCS#8 PEM. */
  keyPem: string;
  /** Leaf first, then intermediates; PEM. */
  chainPem: string;
  notBefore: number; // ms since 1970
  notAfter: number; // ms since 1970
  /** Common name of the issuer, for people. */
  issuer: string;
  /** Hex, upper case, as X509Certificate gives it. */
  serial: string;
  /** Which CA signed: directory URL, `local` or `imported`. */
  ca: string;
  /** When it was stored, ms since 1970. */
  issuedAt: number;
  /** The kind of certificate, when the CA said which (draft-ietf-acme-profiles). */
  profile?: string | undefined;
  /** When we asked the CA to take it back, ms since 1970. */
  revokedAt?: number | undefined;
}

export interface BundleStore {
  /**
   * The best whole bundle: the current generation, or an older one when that is damaged (and says so by `onDamaged`).
   * Undefined when there is none. Names, dates, issuer and serial are the leaf's own, whatever the metadata say.
   *
   * @throws GATEHOUSE_STORAGE_FAILED when nothing could be read and the disk is why
   */
  load(name: string): Promise<CertificateBundle | undefined>;
  /**
   * Durable and current when it resolves; the two generations before it are kept.
   *
   * @throws GATEHOUSE_BUNDLE_DAMAGED when key, chain and name do not belong together: nothing was written
   * @throws GATEHOUSE_STORAGE_FAILED
   */
  save(bundle: CertificateBundle): Promise<void>;
  /** Names that something is stored for, whole or not; sorted. */
  list(): Promise<string[]>;
  /** Key, certificate and all generations; the number of files. */
  remove(name: string): Promise<number>;
}

const ROOT = "certs";
const CURRENT = "current";
const META_VERSION = 1;

/** Two: the one that served until now, and one more for the day that one turns out damaged, too. */
const KEPT_OLDER = 2;

/** Another process may save and prune while we read; three saves within one read is not a race but a fault. */
const LOAD_ROUNDS = 3;

/** A counter, not a time (clocks of small machines jump), then chance, should two processes save at once. */
const GENERATION = /^(\d{8})-[0-9a-f]{8}$/;

const numberOf = (generation: string): number => Number(GENERATION.exec(generation)?.[1] ?? 0);
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

interface Meta {
  version: number;
  name: string;
  ca: string;
  issuedAt: number;
  profile?: string | undefined;
  revokedAt?: number | undefined;
  sha256: { key: string; chain: string };
}

type Reading = { bundle: CertificateBundle } | { reason: string; error?: Error };

export function createBundleStore(
  storage: Storage,
  onDamaged: (name: string, generation: string, reason: string) => void = () => {},
): BundleStore {
  return {
    async load(name) {
      const folder = folderOf(name);
      for (let round = 1; ; round++) {
        const current = await currentOf(storage, folder);
        const damaged: { generation: string; reason: string }[] = [];
        let bundle: CertificateBundle | undefined;
        let failure: Error | undefined;
        for await (const generation of candidatesOf(storage, folder, current)) {
          const reading = await readGeneration(storage, folder, generation, name);
          if ("bundle" in reading) {
            bundle = reading.bundle;
            break;
          }
          damaged.push({ generation, reason: reading.reason });
          failure ??= reading.error;
        }
        const hasMoved = damaged.length > 0 && (await currentOf(storage, folder)) !== current;
        if (hasMoved && round < LOAD_ROUNDS) continue;

        if ((bundle !== undefined || damaged.length > 0) && numberOf(current ?? "") === 0) {
          onDamaged(name, CURRENT, current === undefined ? "it is missing" : "it names no generation");
        }
        for (const { generation, reason } of damaged) onDamaged(name, generation, reason);
        if (bundle === undefined && failure !== undefined) throw failure;
        return bundle;
      }
    },

    async save(bundle) {
      const folder = folderOf(bundle.name);
      const check = checkBundle(bundle.name, bundle.keyPem, bundle.chainPem);
      if ("reason" in check) {
        throw new GatehouseError("GATEHOUSE_BUNDLE_DAMAGED", {
          message: `the new certificate of ${bundle.name} is not stored: ${check.reason}`,
          hint: "The one that is there keeps serving. Look at the CA that signed it.",
          detail: { name: bundle.name, ca: bundle.ca },
        });
      }
      const meta: Meta & Record<string, unknown> = {
        version: META_VERSION,
        name: bundle.name,
        ca: bundle.ca,
        issuedAt: bundle.issuedAt,
        profile: bundle.profile,
        revokedAt: bundle.revokedAt,
        sha256: { key: sha256(bundle.keyPem), chain: sha256(bundle.chainPem) },
        // For people who look into the folder; loading asks the leaf.
        ...check.facts,
        notBefore: new Date(check.facts.notBefore).toISOString(),
        notAfter: new Date(check.facts.notAfter).toISOString(),
      };
      const newest = (await generationsIn(storage, folder))[0] ?? "";
      const count = String(numberOf(newest) + 1).padStart(8, "0");
      const generation = `${count}-${randomBytes(4).toString("hex")}`;
      await storage.write(`${folder}/${generation}/key.pem`, bundle.keyPem);
      await storage.write(`${folder}/${generation}/chain.pem`, bundle.chainPem);
      await storage.write(`${folder}/${generation}/meta.json`, `${JSON.stringify(meta, null, 2)}\n`);
      await storage.write(`${folder}/${CURRENT}`, `${generation}\n`);
      await prune(storage, folder, generation).catch(() => {}); // the bundle is safe; the next save prunes again
    },

    async list() {
      const names = new Set<string>();
      for (const key of await storage.list(ROOT)) names.add(key.split("/")[1] ?? "");
      return [...names]
        .filter(isKeyPart)
        .map((part) => part.replaceAll("_", ":"))
        .sort();
    },

    async remove(name) {
      const keys = await storage.list(folderOf(name));
      for (const key of keys) await storage.remove(key);
      return keys.length;
    },
  };
}

/** The colons of an IPv6 address are no letters of a key. */
function folderOf(name: string): string {
  const part = name.replaceAll(":", "_");
  if (isKeyPart(part)) return `${ROOT}/${part}`;
  throw new GatehouseError("GATEHOUSE_STORAGE_FAILED", {
    message: `${JSON.stringify(name.slice(0, 300))} cannot be the name of a stored certificate`,
    hint: "Names are DNS names: at most 253 characters, without slashes.",
  });
}

async function currentOf(storage: Storage, folder: string): Promise<string | undefined> {
  try {
    return (await storage.read(`${folder}/${CURRENT}`))?.toString("utf8").trim();
  } catch {
    return ""; // unreadable: as good as garbage, the generations speak for themselves
  }
}

/** Newest first. */
async function generationsIn(storage: Storage, folder: string): Promise<string[]> {
  const found = new Set<string>();
  for (const key of await storage.list(folder)) {
    const part = key.split("/")[2] ?? "";
    if (GENERATION.test(part)) found.add(part);
  }
  return [...found].sort().reverse();
}

/**
 * `current` first. A generation newer than it was cut short before the switch, or whole and never announced: it comes
 * after, as one more to fall back to.
 */
async function* candidatesOf(storage: Storage, folder: string, current: string | undefined): AsyncGenerator<string> {
  const isNamed = current !== undefined && GENERATION.test(current);
  // Nearly always it is whole, and the folder need not be looked through.
  if (isNamed) yield current;
  for (const each of await generationsIn(storage, folder)) if (each !== current) yield each;
}

async function readGeneration(storage: Storage, folder: string, generation: string, name: string): Promise<Reading> {
  try {
    const [key, chain, metaBytes] = await Promise.all(
      ["key.pem", "chain.pem", "meta.json"].map((file) => storage.read(`${folder}/${generation}/${file}`)),
    );
    if (key === undefined || chain === undefined || metaBytes === undefined) {
      const missing = key === undefined ? "key.pem" : chain === undefined ? "chain.pem" : "meta.json";
      return { reason: `${missing} is missing` };
    }
    const meta = metaIn(metaBytes.toString("utf8"));
    if (meta === undefined) return { reason: "meta.json cannot be read" };
    const [keyPem, chainPem] = [key.toString("utf8"), chain.toString("utf8")];
    if (sha256(keyPem) !== meta.sha256.key) return { reason: "key.pem is not what was written" };
    if (sha256(chainPem) !== meta.sha256.chain) return { reason: "chain.pem is not what was written" };
    const check = checkBundle(name, keyPem, chainPem);
    if ("reason" in check) return check;
    const { ca, issuedAt, profile, revokedAt } = meta;
    const said = { ...(profile !== undefined && { profile }), ...(revokedAt !== undefined && { revokedAt }) };
    return { bundle: { name, keyPem, chainPem, ca, issuedAt, ...said, ...check.facts } };
  } catch (error) {
    return error instanceof Error ? { reason: error.message, error } : { reason: errorText(error) };
  }
}

function metaIn(text: string): Meta | undefined {
  try {
    const value = JSON.parse(text) as Partial<Meta> | null;
    const isWhole =
      Number.isInteger(value?.version) && // a later version may say more, never less: a downgrade reads it
      typeof value?.ca === "string" &&
      Number.isFinite(value.issuedAt) &&
      typeof value.sha256?.key === "string" &&
      typeof value.sha256.chain === "string";
    return isWhole ? (value as Meta) : undefined;
  } catch {
    return undefined;
  }
}

/** Only what is older than the new one goes: a rival's save in progress has the same number or a higher one. */
async function prune(storage: Storage, folder: string, current: string): Promise<void> {
  const older = (await generationsIn(storage, folder)).filter((each) => numberOf(each) < numberOf(current));
  for (const generation of older.slice(KEPT_OLDER)) {
    for (const key of await storage.list(`${folder}/${generation}`)) await storage.remove(key);
  }
}
