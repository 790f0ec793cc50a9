/**
 * Does a parser keep its promises for any bytes?
 * Owns: the loop; what holds for every parser: no throw, no look past the end, no verdict that more bytes or other
 * pieces change.
 * Never: knows a protocol; a target brings its seeds and its judge.
 */
import { mutate, Random } from "./mutate.ts";

export interface FuzzTarget {
  name: string;
  seeds: readonly Buffer[];
  /** Words of the protocol. */
  dictionary: readonly Buffer[];
  /** Bytes with correct lengths, for protocols whose mutations would all be broken at the first length. */
  generate?(random: Random): Buffer;
  /** What the parser makes of the bytes, in words; `more` when it wants more of them, `broken…` when it refuses. */
  parse(bytes: Buffer): string;
  /** The same bytes in two pieces, for parsers that keep state. */
  parseInPieces?(first: Buffer, second: Buffer): string;
  /** What an accepted input has against it, by another parser. */
  judge?(bytes: Buffer, verdict: string): string | undefined;
  /** The same for judges that are slow: asked about one accepted input in `SLOWLY`. */
  judgeSlowly?(bytes: Buffer, verdict: string): Promise<string | undefined>;
}

export interface FuzzResult {
  executions: number;
  accepted: number;
  judgedSlowly: number;
  failure: { execution: number; what: string; bytes: Buffer } | undefined;
}

export interface FuzzOptions {
  seed: number;
  /** The first one; for a replay. Default 0. */
  from?: number;
  executions: number;
  /** Told now and then which execution is next. */
  onProgress?(execution: number): void;
}

const SLOWLY = 200;
const ROOM = 64;
/** What stands behind the input in memory; a parser that reads on gives itself away by two different verdicts. */
const BEHIND = [
  Buffer.alloc(ROOM, 0),
  Buffer.from("0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\x16\x03\x01 ".repeat(2), "latin1"),
];

export function inputOf(target: FuzzTarget, seed: number, execution: number): Buffer {
  const random = new Random(seed, execution);
  if (target.generate === undefined || random.isOneIn(3)) return mutate(target.seeds, target.dictionary, random);
  return target.generate(random);
}

export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<FuzzResult> {
  const { seed, from = 0, executions } = options;
  const result: FuzzResult = { executions: 0, accepted: 0, judgedSlowly: 0, failure: undefined };
  for (let execution = from; execution < from + executions; execution++) {
    if (execution % 256 === 0) options.onProgress?.(execution);
    const bytes = inputOf(target, seed, execution);
    result.executions++;
    let what: string | undefined;
    try {
      const verdict = target.parse(bytes);
      const isAccepted = verdict !== "more" && !verdict.startsWith("broken");
      if (isAccepted) result.accepted++;
      what = keepsItsWord(target, bytes, verdict, execution);
      if (what === undefined && isAccepted) {
        what = target.judge?.(bytes, verdict);
        if (what === undefined && target.judgeSlowly !== undefined && result.accepted % SLOWLY === 0) {
          result.judgedSlowly++;
          what = await target.judgeSlowly(bytes, verdict);
        }
      }
    } catch (error) {
      what = `threw ${error instanceof Error ? error.stack : String(error)}`;
    }
    if (what !== undefined) {
      result.failure = { execution, what, bytes };
      break;
    }
  }
  return result;
}

function keepsItsWord(target: FuzzTarget, bytes: Buffer, verdict: string, execution: number): string | undefined {
  const [one, other] = BEHIND.map((behind) => Buffer.concat([bytes, behind]).subarray(0, bytes.length));
  if (one === undefined || other === undefined) return undefined;
  if (target.parse(one) !== verdict || target.parse(other) !== verdict) return `reads past the end: ${verdict}`;
  const cut = bytes.length === 0 ? 0 : (execution * 7_919) % bytes.length;
  const [first, second] = [other.subarray(0, cut), other.subarray(cut)];
  if (target.parseInPieces !== undefined) {
    const inPieces = target.parseInPieces(first, second);
    return inPieces === verdict ? undefined : `in pieces (${cut}): ${inPieces}; in one: ${verdict}`;
  }
  const early = target.parse(first);
  if (early === "more" || early === verdict) return undefined;
  // Broken may be said in another word once more is seen, but never be unsaid.
  if (early.startsWith("broken") && verdict.startsWith("broken")) return undefined;
  return `after ${cut} bytes: ${early}; after all: ${verdict}`;
}
