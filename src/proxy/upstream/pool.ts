/**
 * How do we reach a target?
 * Owns: the ways to each target: the engine's line, the agents for node:http, the raw connection for a tunnel.
 * Never: decides which target.
 */
import type { Agent } from "node:http";
import type { Duplex } from "node:stream";
import type { TargetConfig } from "../../config/model.ts";
import { GatehouseError } from "../../core/errors.ts";
import { letGo } from "../../core/let-go.ts";
import { Call } from "./call.ts";
import { CoarseClock } from "../clock.ts";
import { createDialler, type Dialler, isConnecting, whenConnected } from "./dial.ts";
import type { AnswerSink, UpstreamCall, UpstreamRequest } from "./engine.ts";
import { TargetAgent } from "./target-agent.ts";
import { TargetLine } from "./target-line.ts";

export interface UpstreamPool {
  /** Asks a target; see `engine` for what the sink hears. Never throws. */
  ask(request: UpstreamRequest, sink: AnswerSink): UpstreamCall;
  /**
   * For http.request({ agent }): dials plain, TLS, unix socket or the in-process demo.
   *
   * @param answerHeadSize  bytes that the head of an answer may have, for requests from now on
   */
  agentFor(target: TargetConfig, answerHeadSize: number): Agent;
  /** The same without kept connections: for the one retry after a kept one turned out dead. */
  freshAgentFor(target: TargetConfig, answerHeadSize: number): Agent;
  /** A connection of its own, for an upgrade. @throws GATEHOUSE_UPSTREAM_REFUSED, _SLOW, _TLS */
  connect(target: TargetConfig, options: { withinMs: number; signal: AbortSignal }): Promise<Duplex>;
  /** Is it time for a line about this target's failures? Then how many were not told since the last one. */
  mayReport(target: TargetConfig): number | undefined;
  /** Open sockets now, idle ones included: tests hold this to a baseline. */
  openSockets(): number;
  /** Close idle ones now and the rest when they end. */
  close(): void;
}

/** Targets come from the configuration; past this, those of earlier configurations are forgotten when they are quiet. */
const MAX_WAYS = 512;

/** A target that is off would otherwise fill the log at the pace of its visitors; the access line has every failure. */
const REPORT_EVERY_MS = 10_000;

interface Way {
  key: string;
  dialler: Dialler;
  line: TargetLine;
  kept: TargetAgent;
  fresh: TargetAgent;
  reportedAt: number;
  unsaid: number;
}

export interface UpstreamPoolOptions {
  connectDemo(): Duplex;
  /** A request waits because a target has all the connections it may have. */
  full?: () => void;
}

export function createUpstreamPool(options: UpstreamPoolOptions): UpstreamPool {
  const { full = () => {} } = options;
  const ways = new Map<string, Way>();
  let open = 0;
  const clock = new CoarseClock();
  /** The key of a target is a text of all its facts: made once for each object of a configuration. */
  const known = new WeakMap<TargetConfig, Way>();
  let isClosed = false;

  function wayTo(target: TargetConfig): Way {
    const found = known.get(target);
    if (found !== undefined && ways.get(found.key) === found) return found;
    const made = wayByFacts(target);
    known.set(target, made);
    return made;
  }

  function wayByFacts(target: TargetConfig): Way {
    const key = keyOf(target);
    let way = ways.get(key);
    if (way === undefined) {
      if (ways.size >= MAX_WAYS) forgetQuiet(ways);
      const dialler = createDialler(target, options.connectDemo, (socket) => {
        open++;
        socket.once("close", () => {
          open--;
          letGo(socket);
        });
      });
      way = {
        key,
        dialler,
        line: new TargetLine(dialler, clock, full),
        kept: new TargetAgent(dialler, { keepAlive: true, full }),
        fresh: new TargetAgent(dialler, { keepAlive: false, full }),
        reportedAt: -REPORT_EVERY_MS,
        unsaid: 0,
      };
      if (isClosed) retire(way);
      ways.set(key, way);
    }
    return way;
  }

  return {
    ask(request, sink) {
      const call = new Call(request, sink);
      wayTo(request.target).line.ask(call);
      return call;
    },
    agentFor: (target, size) => wayTo(target).kept.accepting(size),
    freshAgentFor: (target, size) => wayTo(target).fresh.accepting(size),
    async connect(target, { withinMs, signal }) {
      if (signal.aborted) throw gone(signal);
      const socket = wayTo(target).dialler.dial();
      if (!isConnecting(socket)) return socket;
      const within = AbortSignal.timeout(withinMs);
      try {
        await whenConnected(socket, AbortSignal.any([signal, within]));
        return socket;
      } catch (cause) {
        socket.destroy();
        if (signal.aborted) throw gone(signal);
        if (within.aborted)
          throw new GatehouseError("GATEHOUSE_UPSTREAM_SLOW", {
            message: "The target did not accept a connection in time.",
            cause,
          });
        throw cause;
      }
    },
    mayReport(target) {
      const way = wayTo(target);
      const now = performance.now();
      if (now - way.reportedAt < REPORT_EVERY_MS) {
        way.unsaid++;
        return undefined;
      }
      const { unsaid } = way;
      way.reportedAt = now;
      way.unsaid = 0;
      return unsaid;
    },
    openSockets: () => open,
    close() {
      isClosed = true;
      for (const way of ways.values()) retire(way);
    },
  };
}

function retire({ line, kept }: Way): void {
  line.retire();
  kept.retire();
}

function forgetQuiet(ways: Map<string, Way>): void {
  for (const [key, { line, kept, fresh }] of ways) {
    if (line.isQuiet && kept.isQuiet() && fresh.isQuiet()) ways.delete(key);
  }
}

function gone(signal: AbortSignal): GatehouseError {
  return new GatehouseError("GATEHOUSE_CLIENT_GONE", {
    message: "The client left before the target was reached.",
    cause: signal.reason,
  });
}

/** Two targets share connections only if every fact that decides whom we talk to is the same (CVE-2026-56850 class). */
function keyOf(target: TargetConfig): string {
  const { verify, roots, serverName } = target.tls;
  return JSON.stringify([target.kind, target.host, target.port, target.path, verify, roots, serverName]);
}
