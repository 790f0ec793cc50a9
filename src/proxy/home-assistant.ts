/**
 * Why does Home Assistant answer 400, and what would it need?
 * Owns: asking a target that gave a bare 400 the same thing with and without forwarding headers; saying so once per site.
 * Never: changes what is forwarded.
 *
 * Home Assistant refuses X-Forwarded-For from a peer that is not in its `trusted_proxies`, with a page that does not say
 * why; only its own log does. The address it wants is the one that it sees: ours, on our socket to it.
 */
import { type IncomingMessage, request } from "node:http";
import { Socket } from "node:net";
import type { TargetConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import type { Logger } from "../observe/log.ts";
import type { Exchange } from "./exchange.ts";
import { requestHeaders } from "./rules/headers.ts";
import { plainAddress } from "../core/networks.ts";
import type { UpstreamPool } from "./upstream/pool.ts";

export interface HomeAssistantHint {
  /** A target answered 400. Returns at once; cheap after the first time. */
  suspect(exchange: Exchange): void;
}

/** aiohttp's whole answer. */
const BARE_400 = "400: Bad Request";
const WITHIN_MS = 5_000;
/** Each site is asked about this many times in the life of the process: a site may answer 400 for reasons of its own. */
const MAX_PROBES = 3;
const PROBE_EVERY_MS = 60_000;
/** More sites than this are not remembered; site names come from the configuration, so this only bounds many reloads. */
const MAX_SITES = 1_000;

interface Probe {
  count: number;
  notBefore: number;
  isTold: boolean;
}

export function createHomeAssistantHint(options: { log: Logger; upstream: UpstreamPool }): HomeAssistantHint {
  const { log, upstream } = options;
  const probes = new Map<string, Probe>();

  async function look(exchange: Exchange, probe: Probe): Promise<void> {
    const { decision } = exchange;
    if (decision.kind !== "forward") return;
    const { site, route } = decision;
    const all = requestHeaders(exchange.head, exchange.client, site);
    const asked = await ask(route.target, upstream, all.filter(isNeeded(true)));
    if (asked.status !== 400 || asked.text.trim() !== BARE_400) return;
    const bare = await ask(route.target, upstream, all.filter(isNeeded(false)));
    if (bare.status === 400) return;
    probe.isTold = true;
    const seen = asked.localAddress === undefined ? "the address of this machine" : plainAddress(asked.localAddress);
    log.warn(
      {
        event: "upstream.home_assistant_untrusted",
        site: site.name,
        target: route.target.text,
        address: seen,
        trusted_proxies: [seen],
        hint:
          `Home Assistant sees ${seen} and refuses its forwarding headers. From 2026.8 on: Settings > System > Network > ` +
          `HTTP server: switch on "use X-Forwarded-For", add ${seen} to the trusted proxies, and confirm within five ` +
          "minutes after its restart. Before: in configuration.yaml\n" +
          `http:\n  use_x_forwarded_for: true\n  trusted_proxies:\n    - ${seen}\n` +
          `Or set \`forwardingHeaders: false\` for ${site.name}: then it sees every visitor as ${seen}.`,
      },
      "Home Assistant does not trust this proxy yet",
    );
  }

  return {
    suspect(exchange) {
      const { decision } = exchange;
      if (decision.kind !== "forward" || !decision.site.forwardingHeaders) return;
      const { name } = decision.site;
      let probe = probes.get(name);
      if (probe === undefined) {
        if (probes.size >= MAX_SITES) return;
        probe = { count: 0, notBefore: 0, isTold: false };
        probes.set(name, probe);
      }
      const now = performance.now();
      if (probe.isTold || probe.count >= MAX_PROBES || now < probe.notBefore) return;
      probe.count++;
      probe.notBefore = now + PROBE_EVERY_MS;
      look(exchange, probe).catch((error: unknown) => {
        log.debug(
          { event: "upstream.home_assistant_probe_failed", site: name, reason: errorText(error) },
          "probe failed",
        );
      });
    },
  };
}

/** Of the request that got the 400 only what decides: no cookies, no credentials. */
function isNeeded(withForwarding: boolean): (text: string, at: number, all: readonly string[]) => boolean {
  return (_, at, all) => {
    const name = all[at - (at % 2)] ?? "";
    return name === "host" || (withForwarding && (name.startsWith("x-forwarded-") || name === "forwarded"));
  };
}

/** Bytes. */
const MAX_ANSWER_HEAD = 16_384;

interface Answer {
  status: number;
  text: string;
  localAddress: string | undefined;
}

function ask(target: TargetConfig, upstream: UpstreamPool, headers: readonly string[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const agent = upstream.freshAgentFor(target, MAX_ANSWER_HEAD);
    const signal = AbortSignal.timeout(WITHIN_MS);
    const req = request({ method: "GET", path: "/", agent, headers, setHost: false, signal });
    req.on("error", reject);
    req.on("response", (answer: IncomingMessage) => {
      const { socket } = answer;
      const localAddress = socket instanceof Socket ? socket.localAddress : undefined;
      let text = "";
      answer.setEncoding("latin1");
      answer.on("error", reject);
      // The first bytes tell: a bare refusal is shorter than this.
      const done = () => {
        resolve({ status: answer.statusCode ?? 0, text, localAddress });
        req.destroy();
      };
      answer.on("data", (piece: string) => {
        text += piece;
        if (text.length > 64) done();
      });
      answer.on("end", done);
    });
    req.end();
  });
}
