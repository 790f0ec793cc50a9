/**
 * Every parser of ours that reads what strangers write.
 */
import type { FuzzTarget } from "./run.ts";
import { answerHead } from "./targets/answer-head.ts";
import { chunk } from "./targets/chunk.ts";
import { clientHello } from "./targets/client-hello.ts";
import { proxyProtocol } from "./targets/proxy-protocol.ts";

export const targets: readonly FuzzTarget[] = [answerHead, chunk, clientHello, proxyProtocol];
