/**
 * What does Node's own parser (llhttp) make of these bytes?
 * Owns: the one place that reaches for Node's internal binding; a message as plain facts.
 * Never: is part of the product.
 */
import { createRequire } from "node:module";

interface NodeParser {
  [callback: number]: unknown;
  initialize(kind: number, resource: object, maxHeaderSize: number): void;
  /** Bytes read, or an Error with `code` and `bytesParsed`. */
  execute(bytes: Buffer): number | (Error & { code?: string });
}

interface ParserClass {
  new (): NodeParser;
  REQUEST: number;
  RESPONSE: number;
  kOnHeaders: number;
  kOnHeadersComplete: number;
  kOnBody: number;
  kOnMessageComplete: number;
}

const { HTTPParser } = createRequire(import.meta.url)("node:_http_common") as { HTTPParser: ParserClass };

export interface NodeMessage {
  method: number;
  url: string;
  status: number;
  reason: string;
  version: string;
  rawHeaders: string[];
  body: string;
  isHeadIn: boolean;
  isWhole: boolean;
  /** Node's code when it refuses. */
  error: string | undefined;
}

/** Larger than any input, so that only the grammar speaks. */
const MAX_HEAD = 1 << 20;

const empty = (): NodeMessage => ({
  method: -1,
  url: "",
  status: 0,
  reason: "",
  version: "",
  rawHeaders: [],
  body: "",
  isHeadIn: false,
  isWhole: false,
  error: undefined,
});

/** One parser for all inputs: each new one costs 8 KB outside the heap until its turn with the collector comes. */
export function createNodeReader(kind: "request" | "response"): (bytes: Buffer) => NodeMessage {
  const parser = new HTTPParser();
  let message = empty();
  let isLater = false;
  parser[HTTPParser.kOnHeaders] = (headers: string[], url: string) => {
    if (isLater || message.isHeadIn) return;
    message.rawHeaders.push(...headers);
    message.url += url;
  };
  parser[HTTPParser.kOnHeadersComplete] = (
    major: number,
    minor: number,
    headers: string[] | undefined,
    method: number,
    url: string | undefined,
    status: number,
    reason: string,
  ) => {
    if (isLater) return 0;
    message.isHeadIn = true;
    message.version = `${major}.${minor}`;
    message.rawHeaders.push(...(headers ?? []));
    message.method = method;
    message.url += url ?? "";
    message.status = status;
    message.reason = reason;
    return 0;
  };
  parser[HTTPParser.kOnBody] = (piece: Buffer) => {
    if (!isLater) message.body += piece.toString("latin1");
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    if (!isLater) message.isWhole = true;
    isLater = true;
  };
  /** The first message in the bytes. */
  return (bytes) => {
    message = empty();
    isLater = false;
    parser.initialize(kind === "request" ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {}, MAX_HEAD);
    const read = parser.execute(bytes);
    if (typeof read !== "number" && !isLater) message.error = read.code ?? read.message;
    return message;
  };
}
