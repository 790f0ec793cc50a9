/**
 * The chunked coding as fast lane and engine follow it: a body that is whole to us is whole to Node's parser, with the
 * same bytes, and what is passed on with its framing kept says the same again.
 */
import { ChunkFollower, lastChunk } from "../../../src/proxy/upstream/chunks.ts";
import { createNodeReader } from "../llhttp.ts";
import type { FuzzTarget } from "../run.ts";
import { chunk, HEAD } from "./chunk.ts";

const readByNode = createNodeReader("request");

function follow(
  pieces: readonly Buffer[],
  keepsFraming: boolean,
): { verdict: string; passedOn: string; payload: number } {
  const follower = new ChunkFollower();
  let passedOn = "";
  let payload = 0;
  const taker = {
    takeChunk(bytes: Buffer, size: number) {
      passedOn += bytes.toString("latin1");
      payload += size;
    },
  };
  for (const piece of pieces) {
    if (follower.isDone) break;
    if (follower.follow(piece, 0, taker, keepsFraming) < 0) return { verdict: "broken", passedOn, payload };
  }
  return { verdict: follower.isDone ? `whole ${JSON.stringify(follower.trailers)}` : "more", passedOn, payload };
}

function parse(...pieces: Buffer[]): string {
  const plain = follow(pieces, false);
  const framed = follow(pieces, true);
  if (plain.verdict !== framed.verdict) return `two verdicts: ${plain.verdict}, ${framed.verdict}`;
  if (plain.verdict === "broken" || plain.verdict === "more") return plain.verdict;
  if (plain.payload !== framed.payload) return `two sizes: ${plain.payload}, ${framed.payload}`;
  return `${plain.verdict} ${JSON.stringify(plain.passedOn)}`;
}

export const engineChunk: FuzzTarget = {
  name: "engine-chunk",
  seeds: chunk.seeds,
  dictionary: chunk.dictionary,
  parse: (bytes) => parse(bytes),
  parseInPieces: (first, second) => parse(first, second),
  judge(bytes, verdict) {
    if (!verdict.startsWith("whole")) return verdict;
    const node = readByNode(Buffer.concat([HEAD, bytes]));
    if (!node.isWhole) return `Node refuses it: ${node.error ?? "it waits for more"}`;
    const { passedOn } = follow([bytes], false);
    if (passedOn !== node.body) return `Node reads ${JSON.stringify(node.body)}`;
    const again = readByNode(
      Buffer.concat([HEAD, Buffer.from(follow([bytes], true).passedOn + lastChunk([]), "latin1")]),
    );
    return again.isWhole && again.body === node.body ? undefined : `passed on as ${JSON.stringify(again)}`;
  },
};
