/**
 * Every parser of ours that reads what strangers write.
 */
import type { FuzzTarget } from "./run.ts";
import { answerHead } from "./targets/answer-head.ts";
import { chunk } from "./targets/chunk.ts";
import { clientHello } from "./targets/client-hello.ts";
import { engineAnswerHead } from "./targets/engine-answer-head.ts";
import { engineChunk } from "./targets/engine-chunk.ts";
import { h2Frames } from "./targets/h2-frames.ts";
import { hpack } from "./targets/hpack.ts";
import { proxyProtocol } from "./targets/proxy-protocol.ts";
import { requestHead } from "./targets/request-head.ts";

export const targets: readonly FuzzTarget[] = [
  requestHead,
  engineAnswerHead,
  engineChunk,
  answerHead,
  chunk,
  clientHello,
  proxyProtocol,
  h2Frames,
  hpack,
];
