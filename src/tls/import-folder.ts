/**
 * What lies in this folder, and is it certbot's, Caddy's or a single certificate?
 * Owns: the layouts of those programs, and reading what is in them.
 * Never: changes anything there: both programs may go on using it.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { errorText, GatehouseError, isGatehouseError } from "../core/errors.ts";
import { type Pair, pairFromPem } from "./import-pair.ts";

/** One certificate of a folder. */
export interface Found {
  /** As that program calls it. */
  label: string;
  /** Directory URL of the CA, when it says so. */
  ca: string | undefined;
  /** What is wrong with this one, while the others are whole. */
  read: Pair | GatehouseError;
}

/** Ten certificates of 6 KB and a key, many times over. */
const MAX_FILE_BYTES = 1_048_576;
/** A person's folder; more is another kind of folder. */
const MAX_FOUND = 10_000;

interface Place {
  label: string;
  ca: string | undefined;
  files: readonly string[];
}

/** @throws GATEHOUSE_IMPORT_UNREADABLE when it is no folder of a kind that is known */
export async function readFolder(folder: string, options: { isAlone: boolean }): Promise<Found[]> {
  const places = (await certbot(folder)) ?? (await caddy(folder)) ?? (await single(folder));
  if (places === undefined) {
    throw new GatehouseError("GATEHOUSE_IMPORT_UNREADABLE", {
      message: `${folder} is neither certbot's folder nor Caddy's, and holds no fullchain.pem with its privkey.pem.`,
      hint: "certbot keeps it in /etc/letsencrypt, Caddy in ~/.local/share/caddy (a service: /var/lib/caddy/.local/share/caddy). A single certificate: name the file.",
    });
  }
  return Promise.all(
    places.slice(0, MAX_FOUND).map(async ({ label, ca, files }): Promise<Found> => {
      try {
        const texts = await Promise.all(files.map(readBounded));
        return { label, ca, read: pairFromPem(texts.map(String), options) };
      } catch (error) {
        if (isGatehouseError(error)) return { label, ca, read: error };
        throw error;
      }
    }),
  );
}

/** @throws GATEHOUSE_IMPORT_UNREADABLE with the file and why */
export async function readBounded(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file);
    if (size <= MAX_FILE_BYTES) return await readFile(file);
    throw new Error(`it has ${size} bytes, which is more than any certificate`);
  } catch (cause) {
    throw new GatehouseError("GATEHOUSE_IMPORT_UNREADABLE", {
      message: `${file} cannot be read: ${errorText(cause)}`,
      hint: "Keys are often for root alone: run the command with sudo, or copy the files.",
      cause,
    });
  }
}

const entries = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);
const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/**
 * `live/NAME/{fullchain,privkey}.pem` are links into `archive/`; `renewal/NAME.conf` is the list of what certbot keeps,
 * and names the CA. The paths in it are not followed: the folder may be a copy.
 */
async function certbot(folder: string): Promise<Place[] | undefined> {
  const live = join(folder, "live");
  if (!(await isFolder(live))) return undefined;
  const listed = (await entries(join(folder, "renewal"))).filter((name) => name.endsWith(".conf"));
  const names =
    listed.length > 0
      ? listed.map((name) => name.slice(0, -".conf".length))
      : (
          await Promise.all((await entries(live)).map(async (name) => ((await isFolder(join(live, name))) ? name : [])))
        ).flat();
  return Promise.all(
    names.sort().map(async (name) => {
      const conf = await readFile(join(folder, "renewal", `${name}.conf`), "utf8").catch(() => "");
      const ca = /^\s*server\s*=\s*(https:\/\/\S+)\s*$/m.exec(conf)?.[1];
      return { label: name, ca, files: pairIn(join(live, name)) };
    }),
  );
}

const pairIn = (folder: string): string[] => [join(folder, "privkey.pem"), join(folder, "fullchain.pem")];

/** `certificates/CA/NAME/NAME.{crt,key,json}`; a wildcard's folder begins with `wildcard_`. */
async function caddy(folder: string): Promise<Place[] | undefined> {
  const root = basename(folder) === "certificates" ? folder : join(folder, "certificates");
  if (!(await isFolder(root))) return undefined;
  const places: Place[] = [];
  for (const ca of (await entries(root)).sort()) {
    for (const name of (await entries(join(root, ca))).sort()) {
      const stem = join(root, ca, name, name);
      if (!(await isFile(`${stem}.crt`))) continue;
      places.push({ label: `${ca}/${name}`, ca: await caddyCa(`${stem}.json`), files: [`${stem}.key`, `${stem}.crt`] });
    }
  }
  return places;
}

/** Beside the certificate Caddy keeps what it was told of it; `issuer_data.ca` is the directory URL. */
async function caddyCa(file: string): Promise<string | undefined> {
  try {
    const { issuer_data: said } = JSON.parse(await readFile(file, "utf8")) as { issuer_data?: { ca?: unknown } | null };
    return typeof said?.ca === "string" && said.ca.startsWith("https://") ? said.ca : undefined;
  } catch {
    return undefined; // of Caddy's own internal CA there is nothing to know
  }
}

/** `live/NAME` itself, or what acme.sh and others install under the same names. */
async function single(folder: string): Promise<Place[] | undefined> {
  const files = pairIn(folder);
  const are = await Promise.all(files.map(isFile));
  return are.every(Boolean) ? [{ label: basename(folder), ca: undefined, files }] : undefined;
}
