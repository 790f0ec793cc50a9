/**
 * The head of an answer as the upstream engine reads it: what it takes, Node's parser takes too, and reads the same.
 */
import { AnswerHead } from "../../../src/proxy/upstream/answer-head.ts";
import { BROKEN, INCOMPLETE } from "../../../src/proxy/rules/field-scan.ts";
import { createNodeReader } from "../llhttp.ts";
import type { FuzzTarget } from "../run.ts";
import { answerHead } from "./answer-head.ts";

const MAX_FIELDS = 100;
const readByNode = createNodeReader("response");

/** Names are put into lower case where they stand, so it gets bytes of its own. */
function read(bytes: Buffer): { head: AnswerHead; end: number } {
  const head = new AnswerHead();
  const room = Buffer.alloc(bytes.length);
  bytes.copy(room);
  return { head, end: head.read(room, 0, room.length, false, MAX_FIELDS) };
}

export const engineAnswerHead: FuzzTarget = {
  name: "engine-answer-head",
  seeds: answerHead.seeds,
  dictionary: answerHead.dictionary,
  parse(bytes) {
    const { head, end } = read(bytes);
    if (end === INCOMPLETE) return "more";
    if (end === BROKEN) return `broken ${head.problem}`;
    const { status, reason, body, contentLength, isPersistent, nominated, rawHeaders } = head;
    return JSON.stringify([end, status, reason, body, contentLength, isPersistent, nominated, rawHeaders]);
  },
  judge(bytes) {
    const { head } = read(bytes);
    const node = readByNode(bytes);
    if (!node.isHeadIn) return `Node refuses it: ${node.error}`;
    if (node.status !== head.status) return `Node reads status ${node.status}`;
    const theirs = JSON.stringify(node.rawHeaders.map((text, at) => (at % 2 === 0 ? text.toLowerCase() : text)));
    const ours = JSON.stringify(head.rawHeaders);
    if (theirs !== ours) return `Node reads ${theirs}, not ${ours}`;
    return head.body === "none" && head.status >= 200 && !node.isWhole ? "Node waits for a body" : undefined;
  },
};
