/**
 * What can go wrong, who is at fault, may it be tried again, and what should a person do?
 * Owns: the table of codes; `docs/errors.md` has one section per code and a test proves both directions.
 * Never: formats for a terminal or a log.
 */

/** Who has to act. Client errors become 4xx, upstream 502/503/504, the rest 500. */
export type ErrorSource = "client" | "upstream" | "ca" | "operator" | "edge";

/** `if-nothing-sent` is the retry rule of RFC 9110 §9.2.2 for a request whose bytes may not have left yet. */
export type RetryRule = "never" | "later" | "if-nothing-sent";

export const ERROR_CODES = {
  // configuration
  GATEHOUSE_CONFIG_INVALID: { source: "operator", retry: "never" },
  GATEHOUSE_CONFIG_UNREADABLE: { source: "operator", retry: "never" },
  GATEHOUSE_CONFIG_UNWRITABLE: { source: "operator", retry: "never" },
  GATEHOUSE_SECRET_UNREADABLE: { source: "operator", retry: "never" },
  GATEHOUSE_NAME_REFUSED: { source: "operator", retry: "never" },
  // listening
  GATEHOUSE_PORT_IN_USE: { source: "operator", retry: "never" },
  GATEHOUSE_PORT_FORBIDDEN: { source: "operator", retry: "never" },
  GATEHOUSE_LISTEN_FAILED: { source: "operator", retry: "never" },
  // storage
  GATEHOUSE_STORAGE_FAILED: { source: "operator", retry: "later" },
  GATEHOUSE_BUNDLE_DAMAGED: { source: "operator", retry: "never" },
  GATEHOUSE_LOCK_TIMEOUT: { source: "edge", retry: "later" },
  // certificates
  GATEHOUSE_ACME_REFUSED: { source: "ca", retry: "never" },
  GATEHOUSE_ACME_RATE_LIMITED: { source: "ca", retry: "later" },
  GATEHOUSE_ACME_UNAVAILABLE: { source: "ca", retry: "later" },
  GATEHOUSE_ACME_SLOW: { source: "ca", retry: "later" },
  GATEHOUSE_ACME_CHALLENGE_FAILED: { source: "ca", retry: "later" },
  GATEHOUSE_ACME_BAD_CERTIFICATE: { source: "ca", retry: "later" },
  GATEHOUSE_DNS_REFUSED: { source: "operator", retry: "never" },
  GATEHOUSE_DNS_FAILED: { source: "edge", retry: "later" },
  GATEHOUSE_CERTIFICATE_PENDING: { source: "edge", retry: "later" },
  GATEHOUSE_CERTIFICATE_UNKNOWN_NAME: { source: "client", retry: "never" },
  GATEHOUSE_FILES_UNUSABLE: { source: "operator", retry: "never" },
  GATEHOUSE_IMPORT_UNREADABLE: { source: "operator", retry: "never" },
  GATEHOUSE_IMPORT_PASSWORD: { source: "operator", retry: "never" },
  GATEHOUSE_IMPORT_KEY: { source: "operator", retry: "never" },
  GATEHOUSE_IMPORT_CHAIN: { source: "operator", retry: "never" },
  // requests
  GATEHOUSE_REQUEST_MALFORMED: { source: "client", retry: "never" },
  GATEHOUSE_REQUEST_REFUSED: { source: "client", retry: "never" },
  GATEHOUSE_CLIENT_CERT_REQUIRED: { source: "client", retry: "never" },
  GATEHOUSE_CLIENT_GONE: { source: "client", retry: "never" },
  GATEHOUSE_UPSTREAM_REFUSED: { source: "upstream", retry: "if-nothing-sent" },
  GATEHOUSE_UPSTREAM_RESET: { source: "upstream", retry: "if-nothing-sent" },
  GATEHOUSE_UPSTREAM_GARBAGE: { source: "upstream", retry: "never" },
  GATEHOUSE_UPSTREAM_SLOW: { source: "upstream", retry: "if-nothing-sent" },
  GATEHOUSE_UPSTREAM_TLS: { source: "upstream", retry: "never" },
  GATEHOUSE_UPSTREAM_NONE: { source: "upstream", retry: "later" },
  GATEHOUSE_LOOP: { source: "operator", retry: "never" },
  // the router
  GATEHOUSE_ROUTER_NONE: { source: "operator", retry: "later" },
  GATEHOUSE_ROUTER_SILENT: { source: "operator", retry: "later" },
  GATEHOUSE_ROUTER_REFUSED: { source: "operator", retry: "later" },
  GATEHOUSE_ROUTER_CONFLICT: { source: "operator", retry: "later" },
  GATEHOUSE_ROUTER_GARBAGE: { source: "operator", retry: "later" },
  // forwarded ports
  GATEHOUSE_FORWARD_UNKNOWN: { source: "operator", retry: "never" },
  GATEHOUSE_FORWARD_OUTSIDE: { source: "operator", retry: "never" },
  GATEHOUSE_SITE_UNKNOWN: { source: "operator", retry: "never" },
  // the running program
  GATEHOUSE_DRAINING: { source: "edge", retry: "later" },
  GATEHOUSE_NOT_RUNNING: { source: "operator", retry: "never" },
  GATEHOUSE_ALREADY_RUNNING: { source: "operator", retry: "never" },
  GATEHOUSE_ADMIN_FORBIDDEN: { source: "operator", retry: "never" },
  GATEHOUSE_WORKER_FAILED: { source: "edge", retry: "later" },
  GATEHOUSE_ADMIN_FAILED: { source: "edge", retry: "never" },
} as const satisfies Record<string, { source: ErrorSource; retry: RetryRule }>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorFacts {
  /** What happened, in one sentence without an inside address when it may reach a client. */
  message: string;
  /** The next step for the person who can act. */
  hint?: string;
  cause?: unknown;
  /** Small, loggable facts; never secrets. */
  detail?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Do not try again before this instant (ms since 1970), when the other side said so. */
  notBefore?: number;
}

export class GatehouseError extends Error {
  override readonly name = "GatehouseError";
  readonly code: ErrorCode;
  readonly source: ErrorSource;
  readonly retry: RetryRule;
  readonly hint: string | undefined;
  readonly detail: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly notBefore: number | undefined;

  constructor(code: ErrorCode, facts: ErrorFacts) {
    super(facts.message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.source = ERROR_CODES[code].source;
    this.retry = ERROR_CODES[code].retry;
    this.hint = facts.hint;
    this.detail = facts.detail ?? {};
    this.notBefore = facts.notBefore;
  }
}

export function isGatehouseError(error: unknown, code?: ErrorCode): error is GatehouseError {
  return error instanceof GatehouseError && (code === undefined || error.code === code);
}

/** The text of anything thrown, for a log line; never empty. */
export function errorText(error: unknown): string {
  if (error instanceof Error) return error.message || error.name;
  return String(error);
}
