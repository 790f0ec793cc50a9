/**
 * How are a CA, a redirect, a route, a header's name and a share of a lifetime written?
 * Owns: those small grammars; targets and addresses have files of their own.
 * Never: asks the CA.
 */
import { validateHeaderName } from "node:http";
import { Refusal, shown } from "../findings.ts";
import { choiceRefusal, variableRefusal } from "./leaves.ts";
import { readTarget as readPlainTarget, type Target } from "./targets.ts";

/** Directories of the CAs that have a name here. */
const DIRECTORIES: Readonly<Record<string, string>> = {
  letsencrypt: "https://acme-v02.api.letsencrypt.org/directory",
  "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
  zerossl: "https://acme.zerossl.com/v2/DV90",
  google: "https://dv.acme-v02.api.pki.goog/directory",
};

/** Their accounts begin on a website (RFC 8555 §7.3.4). */
export const WANTS_EAB: ReadonlySet<string> = new Set(["zerossl", "google"]);

/** Enough to see that it is none; the CA is the judge of the rest. */
export const isEmail = (text: string): boolean => /^[^\s@<>,]+@[^\s@<>,]+\.[^\s@<>,]+$/.test(text);

export interface Ca {
  name: string;
  directoryUrl: string | undefined;
  isPublic: boolean;
}

export function readCa(value: unknown): Ca | Refusal {
  if (value === "local") return { name: "local", directoryUrl: undefined, isPublic: false };
  const byName = typeof value === "string" && Object.hasOwn(DIRECTORIES, value) ? DIRECTORIES[value] : undefined;
  if (byName !== undefined) return { name: String(value), directoryUrl: byName, isPublic: true };
  if (typeof value !== "string" || !value.includes("://")) {
    return choiceRefusal(value, ["local", ...Object.keys(DIRECTORIES), "an https URL"]);
  }
  if (!URL.canParse(value)) return new Refusal(`${shown(value)} is not a URL`, "write https://host/directory");
  const url = new URL(value);
  if (url.protocol !== "https:") return new Refusal("an ACME directory is reached by https", "write https://");
  if (url.username !== "" || url.password !== "") return new Refusal("the URL has a user in it", "remove it");
  const known = Object.entries(DIRECTORIES).find(([, directory]) => directory === url.href)?.[0];
  return { name: known ?? "custom", directoryUrl: url.href, isPublic: known !== undefined };
}

export function readTarget(value: unknown): Target | Refusal {
  return (typeof value === "string" ? variableRefusal(value) : undefined) ?? readPlainTarget(value);
}

/** `https://example.org{path}`; `{path}` is the only placeholder. */
export function readRedirect(value: unknown): string | Refusal {
  if (typeof value !== "string")
    return new Refusal(`${shown(value)} is not a URL`, 'write "https://example.org{path}"');
  const placeholder = /\{(?!path\})[^}]*\}?/.exec(value)?.[0];
  if (placeholder !== undefined)
    return new Refusal(`${placeholder} is not known here`, "the only placeholder is {path}");
  if (/[^/]\/\{path\}/.test(value)) {
    return new Refusal("{path} begins with a slash itself", `write ${shown(value.replaceAll("/{path}", "{path}"))}`);
  }
  if (!/^https?:\/\//i.test(value))
    return new Refusal(`${shown(value)} has no scheme`, 'write "https://example.org{path}"');
  if (!/^[\x21-\x7e]*$/.test(value))
    return new Refusal(`${shown(value)} has other than visible ASCII letters`, "percent-encode them");
  const origin = value.slice(0, value.includes("{path}") ? value.indexOf("{path}") : undefined);
  if (!URL.canParse(origin)) return new Refusal(`${shown(value)} is not a URL`, 'write "https://example.org{path}"');
  const url = new URL(origin);
  return url.username === "" && url.password === "" ? value : new Refusal("the URL has a user in it", "remove it");
}

/** Below a twentieth the scheduler renews anyway; 1 would renew without end. */
const MIN_SHARE = 0.05;

/** `1/3` or `0.33`. */
export function readShare(value: unknown): number | Refusal {
  const fraction = typeof value === "string" ? /^(\d{1,4})\s*\/\s*(\d{1,4})$/.exec(value) : null;
  const decimal = typeof value === "string" && /^0?\.\d{1,17}$/.test(value) ? Number(value) : value;
  const share = fraction === null ? decimal : Number(fraction[1]) / Number(fraction[2]);
  if (typeof share !== "number" || Number.isNaN(share)) {
    return new Refusal(
      `${shown(value)} is not a share of a lifetime`,
      "write 1/3 or 0.33; lifetimes differ, so days mean nothing here",
    );
  }
  if (share >= MIN_SHARE && share < 1) return share;
  return new Refusal(`${shown(value)} is not a share of a lifetime`, `it lies between ${MIN_SHARE} and 1, such as 1/3`);
}

/** Prefixes are compared with the path as it was sent, so they hold what a path may hold (RFC 3986 §3.3). */
export function prefixRefusal(prefix: string): Refusal | undefined {
  if (!prefix.startsWith("/")) return new Refusal("a route begins with /", `write /${prefix}`);
  if (/[?#]/.test(prefix)) return new Refusal("a route is a path, without query", "remove what follows the path");
  if (prefix.includes("*")) return new Refusal("a route is a prefix, without *", "write /api/ for all below it");
  if (!/^(?:[\w\-.~!$&'()+,;=:@/]|%[\dA-Fa-f]{2})*$/.test(prefix)) {
    return new Refusal("a route has letters that a path cannot have", "percent-encode them");
  }
  if (/\/\/|\/\.{1,2}(?:\/|$)/.test(prefix))
    return new Refusal("a route has //, /./ or /../ in it", "write the plain path");
  return undefined;
}

/** Framing and connection are Gatehouse's own (RFC 9110 §7.6.1, RFC 9112 §6). */
const OWN_HEADERS = new Set(
  "connection content-length date keep-alive proxy-connection te trailer transfer-encoding upgrade".split(" "),
);

export function headerRefusal(name: string): Refusal | undefined {
  try {
    validateHeaderName(name);
  } catch {
    return new Refusal(`${shown(name)} is not a header name`, "letters, digits and hyphens");
  }
  return OWN_HEADERS.has(name.toLowerCase())
    ? new Refusal(`${name} is set by Gatehouse itself`, "remove it")
    : undefined;
}
