/**
 * Was this machine really meant, or did a web page make a browser ask?
 * Owns: which Host headers an inner listener answers to.
 * Never: lets a name pass that somebody outside could register.
 *
 * DNS rebinding: a page on attacker.example points its own name at 127.0.0.1 and then reads our answer as its own. The
 * browser still sends that name, so a name that nobody can own in the public DNS is proof enough: an address, a single
 * label (`gatehouse` between containers), and the suffixes set aside for home networks.
 */
import { isIP } from "node:net";

/** RFC 6761 (localhost), RFC 6762 (local), RFC 8375 (home.arpa), ICANN 2024 (internal); `lan` was never delegated. */
const PRIVATE_SUFFIXES = [".localhost", ".local", ".home.arpa", ".internal", ".lan"];

export function isOwnHost(header: string | undefined, ownName: string): boolean {
  // HTTP/1.0 without Host: no browser sends that.
  if (header === undefined) return true;
  const host = withoutPort(header.toLowerCase());
  if (host === undefined) return false;
  if (isIP(host) !== 0) return true;
  if (!/^[a-z0-9_]([a-z0-9_.-]{0,252})$/.test(host)) return false;
  if (!host.includes(".")) return true;
  return host === ownName || PRIVATE_SUFFIXES.some((suffix) => host.endsWith(suffix));
}

function withoutPort(header: string): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+?)\.?)(?::\d{1,5})?$/.exec(header);
  return match?.[1] ?? match?.[2];
}
