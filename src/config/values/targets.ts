/**
 * How is a machine inside written?
 * Owns: `host:port`, `http://…`, `https://…`, `unix:/path`, `demo`, and the refusal for everything near them.
 * Never: dials or looks up.
 */
import { isIP, isIPv4, isIPv6 } from "node:net";
import { Refusal, shown } from "../findings.ts";
import type { TargetConfig } from "../model.ts";
import { nearest } from "../text/nearest.ts";

export type Target = Omit<TargetConfig, "tls">;

/** sun_path has 108 bytes on Linux, the last one zero. */
const MAX_SOCKET_PATH = 107;
const FORMS = "write host:port, http://host:port, https://host:port, unix:/path or demo";

export function readTarget(value: unknown): Target | Refusal {
  if (Array.isArray(value)) return new Refusal("a list of targets is not available yet", "write one target");
  if (typeof value === "number") return new Refusal(`${value} is not a target`, `write 127.0.0.1:${value}`);
  if (typeof value !== "string") return new Refusal(`${shown(value)} is not a target`, FORMS);
  if (value === "demo") return { kind: "demo", text: value, host: "", port: 0, path: "" };
  if (value.startsWith("unix:")) return unixTarget(value);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(value)?.[1]?.toLowerCase();
  if (scheme === undefined) return plainTarget(value);
  if (scheme === "http" || scheme === "https") return urlTarget(value, scheme);
  if (scheme === "ws" || scheme === "wss") {
    const plain = scheme === "ws" ? "http" : "https";
    return new Refusal(`${scheme}:// is not needed`, `write ${plain}://; WebSockets go through by themselves`);
  }
  const meant = nearest(scheme, ["http", "https"]);
  return new Refusal(`${scheme}:// is not a kind of target`, meant === undefined ? FORMS : `did you mean ${meant}://?`);
}

function unixTarget(text: string): Target | Refusal {
  const path = text.slice("unix:".length).replace(/^\/\/(?=\/)/, "");
  if (!path.startsWith("/")) return new Refusal(`${shown(text)} has no absolute path`, "write unix:/run/app.sock");
  const tooLong = socketPathRefusal(path);
  return tooLong ?? { kind: "unix", text, host: "", port: 0, path };
}

export function socketPathRefusal(path: string): Refusal | undefined {
  const bytes = Buffer.byteLength(path);
  if (path.includes("\0")) return new Refusal("the path has a zero byte in it", "remove it");
  if (bytes <= MAX_SOCKET_PATH) return undefined;
  return new Refusal(
    `the socket's path ${shown(path)} is ${bytes} bytes long`,
    `unix sockets end at ${MAX_SOCKET_PATH} bytes; choose a shorter folder`,
  );
}

/** `host:port` alone, for what is not HTTP. */
export function readPlainHostAndPort(text: string): Target | Refusal {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    return new Refusal(`${shown(text)} has a scheme`, "write host:port alone; bytes are carried as they are");
  }
  return plainTarget(text);
}

function plainTarget(text: string): Target | Refusal {
  if (text.includes("/")) {
    const hostAndPort = text.slice(0, text.indexOf("/"));
    return new Refusal(
      `${shown(text)} has a path`,
      `write ${hostAndPort === "" ? "host:port" : hostAndPort} alone; paths go under routes`,
    );
  }
  if (text.includes("@")) return new Refusal(`${shown(text)} has a user in it`, FORMS);
  const unbracketed = /^(.*):(\d+)$/.exec(text);
  if (unbracketed !== null && isIPv6(unbracketed[1] ?? "")) {
    return new Refusal("an IPv6 address needs brackets", `write "[${unbracketed[1]}]:${unbracketed[2]}"`);
  }
  if (isIPv6(text)) return new Refusal(`${shown(text)} needs a port`, `write "[${text}]:8080"`);
  if (/^\[[^\]]*\]$/.test(text)) return new Refusal(`${shown(text)} needs a port`, `write "${text}:8080"`);
  const parts = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(text);
  if (parts === null) {
    const isHost = text !== "" && !text.includes(":") && hostRefusal(text) === undefined;
    const meant = isHost && !text.includes(".") ? nearest(text, ["demo"]) : undefined;
    if (meant !== undefined) return new Refusal(`${shown(text)} needs a port`, `did you mean ${meant}?`);
    return new Refusal(
      `${shown(text)} ${isHost ? "needs a port" : "is not a target"}`,
      isHost ? `write ${text}:8123, say` : FORMS,
    );
  }
  return assemble("http", text, parts[1] ?? "", parts[2] ?? "");
}

function urlTarget(text: string, scheme: "http" | "https"): Target | Refusal {
  const rest = text.slice(scheme.length + "://".length);
  const authority = rest.split(/[/?#]/, 1)[0] ?? "";
  if (authority.includes("@")) {
    return new Refusal("a target has no user and password in it", "remove them; a password does not belong here");
  }
  const beyond = rest.slice(authority.length);
  if (beyond.includes("?") || beyond.includes("#")) {
    return new Refusal("a target has no query", `write ${scheme}://${authority}`);
  }
  if (beyond !== "" && beyond !== "/") {
    return new Refusal(
      `a target has no path`,
      `write ${scheme}://${authority}; which paths go there is said under routes`,
    );
  }
  const parts = /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(authority);
  if (parts === null) {
    const isBare = isIPv6(authority) || isIPv6(authority.replace(/:\d+$/, ""));
    return new Refusal(`${shown(text)} is not a target`, isBare ? "put the IPv6 address in brackets" : FORMS);
  }
  return assemble(scheme, text, parts[1] ?? "", parts[2] ?? (scheme === "http" ? "80" : "443"));
}

function assemble(kind: "http" | "https", text: string, host: string, digits: string): Target | Refusal {
  const port = Number(digits);
  if (digits === "" || digits.length > 5 || port > 65_535 || port === 0) {
    return new Refusal(`port ${shown(digits)} does not exist`, "ports go from 1 to 65535");
  }
  const bare = host.startsWith("[") ? host.slice(1, -1) : host.toLowerCase();
  if (host.startsWith("[")) {
    return isIPv6(bare) && /^[\da-f:.]+(?:%[\w.-]+)?$/i.test(bare)
      ? { kind, text, host: bare, port, path: "" }
      : new Refusal(`${shown(host)} is not an IPv6 address`, "only IPv6 addresses stand in brackets");
  }
  return hostRefusal(bare) ?? { kind, text, host: bare, port, path: "" };
}

/** Inside names may have `_` (Docker's do); certificates play no part here. */
function hostRefusal(host: string): Refusal | undefined {
  if (isIP(host) !== 0) return undefined;
  if (host === "") return new Refusal("the target has no host", FORMS);
  const example = "write the machine's name or address, such as 192.168.0.200";
  if (host.length > 253) return new Refusal(`the host is ${host.length} characters long`, "a name has at most 253");
  if (/[^\x00-\x7f]/.test(host))
    return new Refusal(`${shown(host)} has other than ASCII letters in it`, "write its xn-- form");
  if (!isIPv4(host) && /(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/i.test(host)) {
    return new Refusal(`${shown(host)} is not an IPv4 address`, "four numbers from 0 to 255 with dots between");
  }
  const isName = host
    .replace(/\.$/, "")
    .split(".")
    .every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label));
  return isName ? undefined : new Refusal(`${shown(host)} is not a host`, example);
}
