/**
 * Which words must never stand in a log?
 * Owns: the list of secret names, and cutting secrets out of fields and texts.
 * Never: writes a line.
 *
 * pino's own `redact` lost: it takes exact paths (one spelling, one depth each) and does not look into texts, while
 * secrets arrive as `headers.Authorization`, as `["cookie", "…"]` and inside the URL of an error message.
 */

const REDACTED = "[redacted]";

/** Compared without case, `-` and `_`: `Set-Cookie`, `set_cookie` and `setCookie` are one name. */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  "authorization",
  "proxyauthorization",
  "cookie",
  "setcookie",
  "token",
  "accesstoken",
  "refreshtoken",
  "idtoken",
  "authtoken",
  "xauthtoken",
  "csrftoken",
  "apikey",
  "xapikey",
  "password",
  "passwd",
  "passphrase",
  "secret",
  "clientsecret",
  "credentials",
  "eab",
  "eabkey",
  "eabhmackey",
  "hmackey",
  "eabsecret",
  "privatekey",
  "accountkey",
  "keypem",
  "ticketkeys",
  "keyauthorization",
]);

/** Values of these in a query string: DuckDNS has its token there, Home Assistant its session. */
const SECRET_IN_QUERY =
  /([?&;](?:access_token|refresh_token|id_token|authsig|auth_?token|api_?key|token|password|secret|code|sig(?:nature)?)=)[^&;\s"'<>\\]+/gi;

const SCHEME_CREDENTIALS = /\b(Bearer|Basic)\s+[A-Za-z0-9+/_~.=-]{8,}/g;

const USER_IN_URL = /(\b[a-z][a-z0-9+.-]{1,20}:\/\/)[^\s/@:"]{1,200}:[^\s/@"]{1,200}@/gi;

const PRIVATE_PEM = /-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,20}PRIVATE KEY-----|$)/g;

/** A field longer than this is somebody's answer, not a fact. */
const MAX_TEXT = 4_096;
/** Deeper than any event of ours; also what ends a cycle. */
const MAX_DEPTH = 6;
/** Per object or list; a log line is not a dump. */
const MAX_ENTRIES = 100;

const isSecretName = (name: string): boolean =>
  name.length < 30 && SECRET_NAMES.has(name.replace(/[-_]/g, "").toLowerCase());

/** The same text without the secrets that have a recognisable shape. */
export function redactText(text: string): string {
  let clean = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
  if (clean.includes("=")) clean = clean.replace(SECRET_IN_QUERY, `$1${REDACTED}`);
  if (clean.includes("://")) clean = clean.replace(USER_IN_URL, `$1${REDACTED}@`);
  if (clean.includes(" ")) clean = clean.replace(SCHEME_CREDENTIALS, `$1 ${REDACTED}`);
  if (clean.includes("PRIVATE KEY")) clean = clean.replace(PRIVATE_PEM, REDACTED);
  return clean;
}

/** A copy fit for a log: secrets replaced at every depth, errors readable, sizes bounded. Never throws. */
export function redactFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const clean: Record<string, unknown> = {};
  let count = 0;
  for (const [name, value] of Object.entries(fields)) {
    if (++count > MAX_ENTRIES) break;
    clean[name] = isSecretName(name) && isWorthHiding(value) ? REDACTED : redactValue(value, 1);
  }
  return clean;
}

/** `token: true` tells that there is one and nothing more. */
const isWorthHiding = (value: unknown): boolean => value !== undefined && value !== null && typeof value !== "boolean";

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (depth > MAX_DEPTH) return "[deeper]";
  try {
    if (value instanceof Error) return errorFields(value, depth);
    if (value instanceof Date) return value;
    if (value instanceof URL) return redactText(value.href);
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
    if (value instanceof Map) return redactNested(Object.fromEntries(value), depth);
    if (value instanceof Set) return redactList([...value], depth);
    return Array.isArray(value) ? redactList(value, depth) : redactNested(value, depth);
  } catch {
    // A getter of a stranger's object threw: the line matters more than the field.
    return "[unreadable]";
  }
}

function redactNested(value: object, depth: number): Record<string, unknown> {
  const clean: Record<string, unknown> = {};
  let count = 0;
  for (const [name, inner] of Object.entries(value)) {
    if (++count > MAX_ENTRIES) break;
    clean[name] = isSecretName(name) && isWorthHiding(inner) ? REDACTED : redactValue(inner, depth + 1);
  }
  return clean;
}

/** Flat header lists come as name, value, name, value: what follows a secret name is its value. */
function redactList(list: readonly unknown[], depth: number): unknown[] {
  return list.slice(0, MAX_ENTRIES).map((item, index) => {
    const before = index > 0 ? list[index - 1] : undefined;
    return typeof before === "string" && typeof item === "string" && isSecretName(before)
      ? REDACTED
      : redactValue(item, depth + 1);
  });
}

/** What a person needs of an error. Own fields of foreign errors (requests, configurations, agents) stay out. */
export function errorFields(error: Error, depth = 1): Record<string, unknown> {
  const { code, hint, detail } = error as { code?: unknown; hint?: unknown; detail?: unknown };
  return {
    type: error.name,
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}),
    message: redactText(error.message),
    ...(typeof hint === "string" ? { hint: redactText(hint) } : {}),
    ...(typeof detail === "object" && detail !== null ? { detail: redactValue(detail, depth + 1) } : {}),
    stack: redactText(error.stack ?? ""),
    ...(error.cause === undefined ? {} : { cause: redactValue(error.cause, depth + 1) }),
  };
}
