/**
 * A bad road to a good CA: an HTTPS proxy in front of pebble that counts every request by kind and can be told to answer
 * for the CA, to stall, or to cut the line before or after the CA has heard the question.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import * as https from "node:https";
import { makeCa } from "./certificates.ts";

/** Pebble's paths. `order` is a look at one; `other` is the account and so on. */
export type Endpoint =
  | "directory"
  | "newNonce"
  | "newAccount"
  | "newOrder"
  | "order"
  | "finalize"
  | "authorization"
  | "challenge"
  | "certificate"
  | "renewalInfo"
  | "other";

const ENDPOINTS: readonly (readonly [prefix: string, endpoint: Endpoint])[] = [
  ["/dir", "directory"],
  ["/nonce-plz", "newNonce"],
  ["/sign-me-up", "newAccount"],
  ["/order-plz", "newOrder"],
  ["/my-order/", "order"],
  ["/finalize-order/", "finalize"],
  ["/authZ/", "authorization"],
  ["/chalZ/", "challenge"],
  ["/certZ/", "certificate"],
  // Debian's Pebble has none: only a fault answers there.
  ["/renewal-info/", "renewalInfo"],
];

export type Fault =
  /** Say this in the CA's place. */
  | { answer: { status: number; headers?: Record<string, string>; body?: string } }
  /** Read the question and say nothing, for ever. */
  | "stall"
  /** Pass the head of the CA's answer on, half of the body, and nothing more. */
  | "stall-in-body"
  /** Cut the line before the CA hears of it. */
  | "cut-before"
  /** Let the CA do it and cut the line instead of answering. */
  | "cut-after"
  /** Change the body of the CA's answer. */
  | { rewrite: (body: string) => string };

export interface FaultProxy {
  directoryUrl: string;
  /** What to trust for the proxy's HTTPS. */
  caPem: string;
  /** Requests so far, of the kind. */
  count(endpoint: Endpoint): number;
  /** From now on, `times` times (default: always) at this endpoint. */
  inject(endpoint: Endpoint, fault: Fault, times?: number): void;
  clear(): void;
  stop(): Promise<void>;
}

export async function startFaultProxy(target: { address: string; caPem: string }): Promise<FaultProxy> {
  const ca = await makeCa({ name: "The bad road" });
  const own = await ca.issue({ names: ["localhost", "127.0.0.1"] });
  const counts = new Map<Endpoint, number>();
  const faults = new Map<Endpoint, { fault: Fault; left: number }>();
  const [host = "", port = ""] = target.address.split(":");

  const takeFault = (endpoint: Endpoint): Fault | undefined => {
    const entry = faults.get(endpoint);
    if (entry === undefined || entry.left === 0) return undefined;
    entry.left--;
    return entry.fault;
  };

  function handle(question: IncomingMessage, answer: ServerResponse): void {
    const endpoint = ENDPOINTS.find(([prefix]) => question.url?.startsWith(prefix) === true)?.[1] ?? "other";
    counts.set(endpoint, (counts.get(endpoint) ?? 0) + 1);
    const fault = takeFault(endpoint);
    question.on("error", () => {});
    answer.on("error", () => {});
    if (fault === "stall") return void question.resume();
    if (fault === "cut-before") return void question.socket.destroy();
    if (typeof fault === "object" && "answer" in fault) {
      question.resume();
      answer.writeHead(fault.answer.status, fault.answer.headers).end(fault.answer.body ?? "");
      return;
    }
    const onward = https.request(
      {
        host,
        port,
        ca: target.caPem,
        agent: false,
        method: question.method,
        path: question.url,
        headers: question.headers,
      },
      (reply) => {
        const chunks: Buffer[] = [];
        reply.on("error", () => answer.destroy());
        reply.on("data", (chunk: Buffer) => chunks.push(chunk));
        reply.on("end", () => {
          const body = Buffer.concat(chunks);
          if (fault === "cut-after") return void question.socket.destroy();
          const { "content-length": _length, "transfer-encoding": _encoding, ...headers } = reply.headers;
          if (fault === "stall-in-body") {
            answer.writeHead(reply.statusCode ?? 500, { ...headers, "content-length": body.length });
            return void answer.write(body.subarray(0, body.length / 2));
          }
          const sent = typeof fault === "object" && "rewrite" in fault ? fault.rewrite(body.toString("utf8")) : body;
          answer
            .writeHead(reply.statusCode ?? 500, { ...headers, "content-length": Buffer.byteLength(sent) })
            .end(sent);
        });
      },
    );
    onward.on("error", () => answer.destroy());
    question.pipe(onward);
  }

  const server = https.createServer({ key: own.keyPem, cert: own.chainPem }, handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const ownPort = typeof address === "object" && address !== null ? address.port : 0;

  return {
    directoryUrl: `https://127.0.0.1:${ownPort}/dir`,
    caPem: ca.caPem,
    count: (endpoint) => counts.get(endpoint) ?? 0,
    inject: (endpoint, fault, times = Number.POSITIVE_INFINITY) => void faults.set(endpoint, { fault, left: times }),
    clear: () => faults.clear(),
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
