/**
 * The chunked coding: a body that we call whole is whole to Node's parser too, with the same bytes in it.
 */
import { createBodyReader } from "../../../src/proxy/lanes/answer-body.ts";
import { createNodeReader } from "../llhttp.ts";
import type { FuzzTarget } from "../run.ts";

export const HEAD = Buffer.from("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
const readByNode = createNodeReader("request");

function follow(...pieces: Buffer[]): string {
  const reader = createBodyReader({ body: "chunked", contentLength: 0 });
  let body = "";
  try {
    for (const piece of pieces) for (const data of reader.read(piece)) body += data.toString("latin1");
  } catch {
    return "broken";
  }
  return reader.isComplete ? `whole ${JSON.stringify(body)}` : "more";
}

export const chunk: FuzzTarget = {
  name: "chunk",
  seeds: [
    "5\r\nhello\r\n0\r\n\r\n",
    '5;a=b;c="d"\r\nhello\r\n0\r\nX-T: 1\r\n\r\n',
    "0\r\n\r\n",
    "1\r\na\r\n2\r\nbc\r\nA\r\n0123456789\r\n000\r\n\r\nGET / HTTP/1.1\r\n",
    "0000005\r\nhello\r\n0;x\r\nA: b\r\nC: d\r\n\r\n",
    "12\r\nGET /SMUG HTTP/1.1\r\n0\r\n\r\n",
  ].map((text) => Buffer.from(text)),
  dictionary: [
    "0\r\n\r\n",
    "\r\n",
    "\n",
    "\r",
    ";",
    '="',
    "; ",
    " ",
    "A: b\r\n",
    "Content-Length: 5\r\n",
    "0x",
    "ffffffff",
    "5\r\nhello\r\n",
  ].map((text) => Buffer.from(text, "latin1")),
  parse: (bytes) => follow(bytes),
  parseInPieces: (first, second) => follow(first, second),
  judge(bytes, verdict) {
    const node = readByNode(Buffer.concat([HEAD, bytes]));
    if (!node.isWhole) return `Node refuses it: ${node.error ?? "it waits for more"}`;
    return verdict === `whole ${JSON.stringify(node.body)}` ? undefined : `Node reads ${JSON.stringify(node.body)}`;
  },
};
