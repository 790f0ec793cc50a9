/**
 * How did it go with this name at this CA?
 * Owns: `acme/<ca>/history/<name>.json`: the last attempts, failures in a row, and what the last one was.
 * Never: counts limits (ledger does) or plans (the scheduler does).
 *
 * Kept for each CA, so that a success at the second CA does not make the first one look well.
 */
import { errorText, isGatehouseError } from "../../core/errors.ts";
import type { Clock } from "../../core/time.ts";
import type { Logger } from "../../observe/log.ts";
import type { Storage } from "../../storage/contract.ts";
import { caFolder } from "../account.ts";
import { isRecord } from "../problem.ts";

/** A year of renewals, or a bad week: enough to see what happened, and some KB. */
const MAX_ROWS = 50;

interface HistoryRow {
  at: number; // ms since 1970
  /** `rehearsal`: at the CA's staging, nothing was spent. */
  what: "issued" | "failed" | "rehearsal";
  names: readonly string[];
  account: string | undefined;
  /** Of a failure. */
  code: string | undefined;
  message: string | undefined;
}

export interface History {
  failuresInARow: number;
  /** Code of the last failure since the last success. */
  lastFailure: string | undefined;
  rows: readonly HistoryRow[];
}

export interface Histories {
  read(name: string): Promise<History>;
  /** Neither rejects: a history that is not written is told in the log. */
  issued(facts: Whose): Promise<void>;
  failed(facts: Whose, error: unknown, what?: "failed" | "rehearsal"): Promise<void>;
}

type Whose = Pick<HistoryRow, "names" | "account"> & { name: string };

export function createHistories(directoryUrl: string, storage: Storage, clock: Clock, log: Logger): Histories {
  const place = (name: string): string => `${caFolder(directoryUrl)}/history/${name.replaceAll(":", "_")}.json`;
  const read = async (name: string): Promise<History> => parse(await storage.read(place(name)));

  async function add({ name, names, account }: Whose, row: Pick<HistoryRow, "what" | "code" | "message">) {
    try {
      const before = await read(name);
      const isSuccess = row.what === "issued";
      const rows = [...before.rows, { at: clock.now(), names, account, ...row }].slice(-MAX_ROWS);
      const history: History = {
        failuresInARow: isSuccess ? 0 : before.failuresInARow + 1,
        lastFailure: isSuccess ? undefined : row.code,
        rows,
      };
      await storage.write(place(name), `${JSON.stringify({ version: 1, ...history })}\n`);
    } catch (error) {
      log.warn({ event: "acme.history.unkept", name, reason: errorText(error) }, "how it went is not kept");
    }
  }

  return {
    read,
    issued: (facts) => add(facts, { what: "issued", code: undefined, message: undefined }),
    failed: (facts, error, what = "failed") =>
      add(facts, {
        what,
        code: isGatehouseError(error) ? error.code : "UNKNOWN",
        message: errorText(error).slice(0, 500),
      }),
  };
}

function parse(bytes: Buffer | undefined): History {
  const none: History = { failuresInARow: 0, lastFailure: undefined, rows: [] };
  try {
    const data: unknown = JSON.parse(bytes?.toString("utf8") ?? "");
    if (!isRecord(data) || typeof data["failuresInARow"] !== "number") return none;
    const rows: unknown[] = Array.isArray(data["rows"]) ? data["rows"] : [];
    return {
      failuresInARow: data["failuresInARow"],
      lastFailure: typeof data["lastFailure"] === "string" ? data["lastFailure"] : undefined,
      rows: rows.filter(isRecord).map((row) => ({
        at: Number(row["at"]),
        what: row["what"] === "issued" || row["what"] === "rehearsal" ? row["what"] : "failed",
        names: Array.isArray(row["names"]) ? row["names"].map(String) : [],
        account: typeof row["account"] === "string" ? row["account"] : undefined,
        code: typeof row["code"] === "string" ? row["code"] : undefined,
        message: typeof row["message"] === "string" ? row["message"] : undefined,
      })),
    };
  } catch {
    return none; // as good as none
  }
}
