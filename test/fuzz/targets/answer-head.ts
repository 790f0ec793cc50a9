/**
 * The head of a target's answer: what we take, Node's parser takes too, and reads the same.
 */
import { readFileSync } from "node:fs";
import { parseAnswerHead } from "../../../src/proxy/lanes/head.ts";
import { createNodeReader } from "../llhttp.ts";
import type { FuzzTarget } from "../run.ts";

const corpus = (name: string): Buffer[] =>
  (JSON.parse(readFileSync(new URL(`../../corpus/data/${name}`, import.meta.url), "utf8")) as { bytes?: string }[])
    .map(({ bytes }) => Buffer.from(bytes ?? "", "base64"))
    .filter((bytes) => bytes.length > 0 && bytes.length < 2_000);

const readByNode = createNodeReader("response");

export const answerHead: FuzzTarget = {
  name: "answer-head",
  seeds: [...corpus("target-answers.json"), ...corpus("own-answers.json")],
  dictionary: [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "Content-Length: 2\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "\r\n\r\n",
    "\r\n ",
    "\n\n",
    " :",
    ": ",
    "\t",
    ", chunked",
    "identity",
  ].map((text) => Buffer.from(text, "latin1")),
  parse(bytes) {
    const parsed = parseAnswerHead(bytes, 65_536);
    if (parsed === undefined) return "more";
    return parsed.head === undefined ? `broken ${parsed.broken}` : JSON.stringify([parsed.end, parsed.head]);
  },
  judge(bytes) {
    const ours = parseAnswerHead(bytes, 65_536)?.head;
    const node = readByNode(bytes);
    if (!node.isHeadIn) return `Node refuses it: ${node.error}`;
    if (node.status !== ours?.status) return `Node reads status ${node.status}`;
    const [theirs, mine] = [node.rawHeaders, ours.rawHeaders].map((headers) => JSON.stringify(headers));
    if (theirs !== mine) return `Node reads ${theirs}, not ${mine}`;
    // Where the length says so, Node must agree on what the body is.
    if (ours.body === "none" && ours.status >= 200 && !node.isWhole) return "Node waits for a body";
    if ((ours.body === "chunked" || ours.body === "close") && node.isWhole && node.body === "" && bytes.length < 20)
      return "Node waits for no body";
    return undefined;
  },
};
