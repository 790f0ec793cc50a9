/**
 * Can this name have a certificate, and how is it spelled on the wire?
 * Owns: the rules for host names of sites (IDN, labels, wildcards, what a public CA signs), each with its refusal.
 * Never: asks DNS or a CA; spending an order on a name that cannot work is what this prevents.
 */
import { isIP, isIPv4, isIPv6 } from "node:net";
import { domainToASCII } from "node:url";
import { parse } from "tldts";
import { isInsideAddress } from "./networks.ts";

export interface NamePolicy {
  /** Will a CA of the web (CA/Browser Forum rules) sign it? Then it must end in a public suffix. */
  publicCa: boolean;
  /** May an address stand in its place (RFC 8738)? Default: not. */
  canBeAddress?: boolean;
  /** May the name be a wildcard? Default: not at a public CA, where only DNS-01 proves one. */
  canBeWildcard?: boolean;
}

export type CheckedName =
  /** A-label, lower case, no trailing dot; may begin with `*.`. Or an address, IPv6 in its short form without brackets. */
  | { name: string }
  /** What is wrong, and the next step. */
  | { refusal: string; hint: string };

const MAX_LABEL = 63; // RFC 1035 §2.3.4
const MAX_NAME = 253; // 255 octets on the wire (RFC 1035 §2.3.4) less the first length byte and the root
/** Longer than any name can be, whatever its script; the text is cut before it reaches a message. */
const MAX_TEXT = 1_000;

const OWN_NAME = "use a name you own or one from a dynamic DNS provider (myhome.duckdns.org), or set acme.ca: local";

const refuse = (refusal: string, hint: string): CheckedName => ({ refusal, hint });

export function checkName(text: string, policy: NamePolicy): CheckedName {
  const address = policy.canBeAddress === true ? addressIn(text) : undefined;
  if (address !== undefined) {
    return policy.publicCa && isInsideAddress(address)
      ? refuse("is a private address, which no public CA signs", "use a name you own, or set acme.ca: local")
      : { name: address };
  }
  const notAName = whyNoName(text);
  if (notAName !== undefined) return notAName;

  const isWildcard = text.startsWith("*.");
  const written = (isWildcard ? text.slice(2) : text).replace(/\.$/, "");
  const wildcardRefusal = isWildcard || written.includes("*") ? whyNoWildcard(text, written, policy) : undefined;
  if (wildcardRefusal !== undefined) return wildcardRefusal;

  const badLabel = written
    .split(".")
    .map(whyNoLabel)
    .find((refusal) => refusal !== undefined);
  if (badLabel !== undefined) return badLabel;
  const base = toALabels(written);
  if (base === undefined) {
    return refuse("is not a valid internationalised name", "check the spelling, or write its xn-- form");
  }
  const longest = base.split(".").find((label) => label.length > MAX_LABEL);
  if (longest !== undefined) {
    return refuse(`has a label of ${longest.length} characters in its xn-- form`, `a label has at most ${MAX_LABEL}`);
  }
  const name = isWildcard ? `*.${base}` : base;
  if (name.length > MAX_NAME) return refuse(`is ${name.length} characters long`, `a name has at most ${MAX_NAME}`);
  return whyNotHere(base, policy) ?? { name };
}

/** The one spelling of an address (RFC 5952), or undefined. A zone (`%eth0`) means something on this machine alone. */
function addressIn(text: string): string | undefined {
  const bare = text.replace(/^\[(.*)\]$/, "$1");
  if (isIPv4(bare)) return bare;
  return isIPv6(bare) && !bare.includes("%") ? new URL(`http://[${bare}]`).hostname.slice(1, -1) : undefined;
}

/** Things people write where a name belongs: URLs, ports, addresses. */
function whyNoName(text: string): CheckedName | undefined {
  if (text === "" || text === ".") return refuse("is empty", "write a host name such as ha.example.org");
  if (text.length > MAX_TEXT) return refuse(`is ${text.length} characters long`, `a name has at most ${MAX_NAME}`);
  if (/\s/u.test(text)) return refuse("contains a space", "a host name has none; write one site per entry");
  if (text.includes("://")) return refuse("is a URL", "write the host name alone, without scheme and path");
  if (text.includes("/")) return refuse("contains a slash", "write the host name alone; paths go under routes");
  if (text.includes("@")) return refuse("contains an @", "write the host name alone, without a user");
  if (isIP(text.replace(/^\[(.*)\]$/, "$1")) !== 0 || /(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/i.test(text)) {
    return refuse("is an address, not a name", "clients find a site by its name; give the machine one in DNS");
  }
  if (text.includes(":")) return refuse("contains a port", "write the host name alone; ports are set in listen");
  return undefined;
}

function whyNoWildcard(text: string, base: string, policy: NamePolicy): CheckedName | undefined {
  if (!text.startsWith("*.") || base.includes("*")) {
    return refuse("has a * that is not the whole left-most label", "write *.example.org");
  }
  // Clients refuse a wildcard right below the top: Node and OpenSSL both want two labels after the star.
  if (!base.includes(".")) {
    return refuse(
      "is a wildcard over a whole top-level name, which clients refuse",
      `write *.home.${base}, or each name`,
    );
  }
  if (!(policy.canBeWildcard ?? !policy.publicCa)) {
    return refuse(
      "is a wildcard, which needs DNS-01 and a DNS provider",
      "write the block of your provider (duckdns, cloudflare, desec, rfc2136, dnsHook), or list each name",
    );
  }
  return undefined;
}

function whyNoLabel(label: string): CheckedName | undefined {
  if (label === "") return refuse("has an empty label (two dots in a row, or a dot in front)", "remove the extra dot");
  if (label.includes("_")) return refuse("contains _, which no CA signs", "use a hyphen instead");
  if (label.length > MAX_LABEL && /^[\x21-\x7e]*$/.test(label)) {
    return refuse(`has a label of ${label.length} characters`, `a label has at most ${MAX_LABEL}`);
  }
  if (label.startsWith("-") || label.endsWith("-")) {
    return refuse("has a label that begins or ends with a hyphen", "remove the hyphen");
  }
  const stranger = /[\x00-\x7f]/.test(label) ? /[^a-z0-9-]/i.exec(label.replace(/[^\x00-\x7f]/gu, ""))?.[0] : undefined;
  if (stranger !== undefined) {
    return refuse(`contains ${JSON.stringify(stranger)}`, "a name has letters, digits, hyphens and dots");
  }
  return undefined;
}

/** UTS 46, as browsers do it; undefined when a label has no valid A-label. */
function toALabels(written: string): string | undefined {
  const ascii = domainToASCII(written);
  // domainToASCII cuts and folds a few things (soft hyphens, full-width dots): look again at what came out.
  const isClean = ascii.split(".").every((label) => /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(label));
  return ascii !== "" && isClean && isIP(ascii) === 0 ? ascii : undefined;
}

/** Names of one network, kept apart by RFC 6761, 6762, 7686, 8375 and ICANN; some stand in the public suffix list. */
const NEVER_PUBLIC = new Set(["arpa", "example", "internal", "invalid", "local", "localhost", "onion", "test"]);

/** May this CA sign it? */
function whyNotHere(name: string, { publicCa }: NamePolicy): CheckedName | undefined {
  const top = name.slice(name.lastIndexOf(".") + 1);
  if (!name.includes(".") && (publicCa || name !== "localhost")) {
    return refuse("has a single label", `write it with its domain, such as ${name}.example.org`);
  }
  if (!publicCa) return undefined;
  const found = parse(name, { allowPrivateDomains: true, extractHostname: false, validateHostname: false });
  const isKnownSuffix = found.isIcann === true || found.isPrivate === true;
  if (!isKnownSuffix || NEVER_PUBLIC.has(top)) return refuse(`ends in .${top}, which no public CA signs`, OWN_NAME);
  if (found.domain === null) {
    return refuse(
      "is a public suffix: everybody's, so no CA signs it for you",
      `write your own name under it, myhome.${name}`,
    );
  }
  return undefined;
}
