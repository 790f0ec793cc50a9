/**
 * What does the exit code say?
 * Owns: the one table from error codes to exit codes (sysexits.h), and its words for --help.
 * Never: prints.
 */
import type { ErrorCode } from "../core/errors.ts";

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 64,
  data: 65,
  notRunning: 69,
  cannotCreate: 73,
  tryLater: 75,
  notAllowed: 77,
  config: 78,
} as const;

/** 78 pairs with RestartPreventExitStatus=78 of the systemd unit: a wrong file does not get better by starting again. */
const EXIT_OF = {
  GATEHOUSE_CONFIG_INVALID: EXIT.config,
  GATEHOUSE_CONFIG_UNREADABLE: EXIT.config,
  GATEHOUSE_CONFIG_UNWRITABLE: EXIT.cannotCreate,
  GATEHOUSE_SECRET_UNREADABLE: EXIT.config,
  GATEHOUSE_NAME_REFUSED: EXIT.config,
  GATEHOUSE_PORT_IN_USE: EXIT.cannotCreate,
  GATEHOUSE_PORT_FORBIDDEN: EXIT.notAllowed,
  GATEHOUSE_LISTEN_FAILED: EXIT.cannotCreate,
  GATEHOUSE_STORAGE_FAILED: EXIT.cannotCreate,
  GATEHOUSE_BUNDLE_DAMAGED: EXIT.data,
  GATEHOUSE_LOCK_TIMEOUT: EXIT.tryLater,
  GATEHOUSE_ACME_REFUSED: EXIT.failed,
  GATEHOUSE_ACME_RATE_LIMITED: EXIT.tryLater,
  GATEHOUSE_ACME_UNAVAILABLE: EXIT.tryLater,
  GATEHOUSE_ACME_SLOW: EXIT.tryLater,
  GATEHOUSE_ACME_CHALLENGE_FAILED: EXIT.failed,
  GATEHOUSE_ACME_BAD_CERTIFICATE: EXIT.failed,
  GATEHOUSE_DNS_REFUSED: EXIT.failed,
  GATEHOUSE_DNS_FAILED: EXIT.tryLater,
  GATEHOUSE_CERTIFICATE_PENDING: EXIT.tryLater,
  GATEHOUSE_CERTIFICATE_UNKNOWN_NAME: EXIT.data,
  GATEHOUSE_FILES_UNUSABLE: EXIT.data,
  GATEHOUSE_IMPORT_UNREADABLE: EXIT.data,
  GATEHOUSE_IMPORT_PASSWORD: EXIT.data,
  GATEHOUSE_IMPORT_KEY: EXIT.data,
  GATEHOUSE_IMPORT_CHAIN: EXIT.data,
  GATEHOUSE_REQUEST_MALFORMED: EXIT.failed,
  GATEHOUSE_REQUEST_REFUSED: EXIT.failed,
  GATEHOUSE_CLIENT_CERT_REQUIRED: EXIT.failed,
  GATEHOUSE_CLIENT_GONE: EXIT.failed,
  GATEHOUSE_UPSTREAM_REFUSED: EXIT.failed,
  GATEHOUSE_UPSTREAM_RESET: EXIT.failed,
  GATEHOUSE_UPSTREAM_GARBAGE: EXIT.failed,
  GATEHOUSE_UPSTREAM_SLOW: EXIT.failed,
  GATEHOUSE_UPSTREAM_TLS: EXIT.failed,
  GATEHOUSE_UPSTREAM_NONE: EXIT.failed,
  GATEHOUSE_LOOP: EXIT.failed,
  GATEHOUSE_ROUTER_NONE: EXIT.tryLater,
  GATEHOUSE_ROUTER_SILENT: EXIT.tryLater,
  GATEHOUSE_ROUTER_REFUSED: EXIT.failed,
  GATEHOUSE_ROUTER_CONFLICT: EXIT.failed,
  GATEHOUSE_ROUTER_GARBAGE: EXIT.failed,
  GATEHOUSE_FORWARD_UNKNOWN: EXIT.data,
  GATEHOUSE_FORWARD_OUTSIDE: EXIT.failed,
  GATEHOUSE_SITE_UNKNOWN: EXIT.data,
  GATEHOUSE_DRAINING: EXIT.tryLater,
  GATEHOUSE_NOT_RUNNING: EXIT.notRunning,
  GATEHOUSE_ALREADY_RUNNING: EXIT.cannotCreate,
  GATEHOUSE_ADMIN_FORBIDDEN: EXIT.notAllowed,
  GATEHOUSE_WORKER_FAILED: EXIT.failed,
  GATEHOUSE_ADMIN_FAILED: EXIT.failed,
} as const satisfies Record<ErrorCode, number>;

export const exitCodeOf = (code: ErrorCode): number => EXIT_OF[code];

export const EXIT_HELP = `Exit codes:
   0  ok
   1  failed
  64  usage: the command line is wrong
  65  data: what was given or stored is damaged
  69  not running
  73  cannot create: a port, a socket or a file
  75  try later
  77  not allowed: a right is missing
  78  configuration: the file is wrong or cannot be read`;
