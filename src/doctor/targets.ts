/**
 * Do the machines inside answer, and in the protocol that the file says?
 * Owns: what a refused, silent or unreachable target means; plain against TLS; Home Assistant's 400 and its entry.
 * Never: sends anything but GET / of its own.
 */
import type { SiteConfig, TargetConfig } from "../config/model.ts";
import { errorText } from "../core/errors.ts";
import { plainAddress } from "../core/networks.ts";
import { askTarget, speaksTls, type TargetAnswer } from "./ask-target.ts";
import { type Note, note } from "./finding.ts";
import { tryConnect } from "./listening.ts";
import type { Answered } from "./websocket.ts";

const CONNECT_WITHIN_MS = 3_000;
/** Homes have a handful; a file of thousands is asked about by name. */
const MAX_TARGETS = 32;
/** Home Assistant's (aiohttp's) whole answer to forwarding headers from a proxy it was not told of. */
const BARE_400 = "400: Bad Request";
/** In the head of the page that its frontend begins with. */
const HOME_ASSISTANT_TITLE = "<title>Home Assistant</title>";

interface Place {
  site: SiteConfig;
  target: TargetConfig;
}

export interface TargetsLook {
  notes: readonly Note[];
  /** Those that answer well, for a look at what comes after plain requests. */
  answered: readonly Answered[];
}

export async function lookAtTargets(sites: readonly SiteConfig[], signal: AbortSignal): Promise<TargetsLook> {
  const answered: Answered[] = [];
  const places = new Map<string, Place>();
  for (const site of sites) {
    for (const { target } of site.routes) places.set(`${target.kind} ${target.text}`, { site, target });
  }
  const passed = sites.flatMap(({ passthrough }) => passthrough ?? []);
  const some = [...places.values()].slice(0, MAX_TARGETS);
  const notes = await Promise.all([
    ...some.map((place) => lookAt(place, answered, signal)),
    ...passed.slice(0, MAX_TARGETS).map(({ target }) => opens(target, signal)),
  ]);
  const left = places.size + passed.length - notes.length;
  if (left > 0) {
    const seen = `${left} more targets were not asked; name a site: gatehouse doctor NAME.`;
    notes.push(note("unknown", "TARGETS_NOT_ASKED", { seen }));
  }
  return { notes, answered };
}

async function lookAt({ site, target }: Place, answered: Answered[], signal: AbortSignal): Promise<Note> {
  const subject = target.text;
  if (target.kind === "demo") return note("ok", "TARGET_DEMO", { subject, seen: "The sample page needs no machine." });
  if (target.kind !== "unix") {
    const opened = await opens(target, signal);
    if (opened.severity !== "ok") return opened;
  }
  const host = site.name.replace("*", "gatehouse-doctor");
  const ask = (withForwarding: boolean): Promise<TargetAnswer> => askTarget(target, { host, withForwarding, signal });
  let answer: TargetAnswer;
  try {
    answer = await ask(site.forwardingHeaders);
  } catch (error) {
    signal.throwIfAborted();
    return unanswered(target, site.name, error, signal);
  }
  if (answer.status === 400) {
    const isTls = target.kind === "http" && (await speaksTls(target, signal));
    if (isTls) return wantsTls(target, site.name);
    const bare = site.forwardingHeaders ? await ask(false).catch(() => undefined) : undefined;
    if (bare !== undefined && bare.status !== 400) return distrusts(site, answer);
  }
  if (answer.status >= 500) {
    return note("warning", "TARGET_FAILS", {
      subject,
      seen: `${subject} answers with status ${answer.status}.`,
      why: "Visitors of its first page get that answer.",
      next: "Look at its own log.",
    });
  }
  answered.push({ site, target, isHomeAssistant: answer.text.includes(HOME_ASSISTANT_TITLE) });
  return note("ok", "TARGET_ANSWERS", { subject, seen: `${subject} answers with status ${answer.status}.` });
}

async function opens(target: { host: string; port: number; text: string }, signal: AbortSignal): Promise<Note> {
  const { host, port, text: subject } = target;
  try {
    await tryConnect(host, port, CONNECT_WITHIN_MS, signal);
    return note("ok", "TARGET_OPEN", { subject, seen: `${subject} takes connections.` });
  } catch (error) {
    signal.throwIfAborted();
    return closed(subject, host, port, error);
  }
}

function closed(subject: string, host: string, port: number | undefined, error: unknown): Note {
  const codes = error instanceof AggregateError ? error.errors : [error];
  const code = codes.map((one: unknown) => (one as NodeJS.ErrnoException).code).find((one) => one !== undefined) ?? "";
  const why = "Visitors get a 502 in its place.";
  if (code === "ECONNREFUSED" || code === "ENOENT") {
    const seen = `Nothing listens at ${subject}.`;
    const where = port === undefined ? subject : `port ${port} of ${host}`;
    return note("error", "TARGET_REFUSES", {
      subject,
      seen,
      why,
      next: `Start the service at ${where}, or correct the target in the file. Does it listen on 127.0.0.1 alone?`,
    });
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    const seen = `The name ${host} of the target ${subject} is not known to this machine's DNS.`;
    return note("error", "TARGET_NAME_UNKNOWN", {
      subject,
      seen,
      why,
      next: "Write its address in place of the name.",
    });
  }
  if (["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN"].includes(code)) {
    return note("error", "TARGET_UNREACHABLE", {
      subject,
      seen: `${subject} cannot be reached (${code}).`,
      why,
      next: `Is ${host} switched on, and is that still its address? Its own firewall may be in the way, too.`,
    });
  }
  return note("error", "TARGET_FAILS", { subject, seen: `${subject}: ${errorText(error)}.`, why });
}

async function unanswered(target: TargetConfig, site: string, error: unknown, signal: AbortSignal): Promise<Note> {
  const { text: subject, host, port } = target;
  if (target.kind === "unix") return closed(subject, host, undefined, error);
  if (target.kind === "http" && (await speaksTls(target, signal))) return wantsTls(target, site);
  if (target.kind === "https") {
    if (await speaksTls(target, signal)) {
      return note("error", "TARGET_CERTIFICATE_UNTRUSTED", {
        subject,
        seen: `The certificate of ${subject} is not trusted: ${errorText(error)}.`,
        why: "Visitors get a 502: Gatehouse sends nothing to a machine that may be another one.",
        next: `If its certificate is its own, write upstreamTls: { verify: false } under ${site}, or name its root there.`,
      });
    }
    const plain: TargetConfig = { ...target, kind: "http" };
    const answer = await askTarget(plain, { host: site, withForwarding: false, signal }).catch(() => undefined);
    if (answer !== undefined) {
      return note("error", "TARGET_SPEAKS_PLAIN", {
        subject,
        seen: `${subject} speaks plain HTTP, not TLS.`,
        why: "Visitors get a 502.",
        next: `Write http://${hostPort(host, port)} as the target of ${site}.`,
      });
    }
  }
  const isSilent = (error as NodeJS.ErrnoException).code === "ETIMEDOUT";
  return note("error", isSilent ? "TARGET_SILENT" : "TARGET_NO_HTTP", {
    subject,
    seen: isSilent
      ? `${subject} takes connections but answers nothing.`
      : `${subject} gives no HTTP answer: ${errorText(error)}.`,
    why: "Visitors get a 502 or a 504.",
    next: `Is port ${port} the one of its web page? Its own log may say more.`,
  });
}

const wantsTls = ({ text, host, port }: TargetConfig, site: string): Note =>
  note("error", "TARGET_SPEAKS_TLS", {
    subject: text,
    seen: `${text} speaks TLS, and the file says plain HTTP.`,
    why: "Visitors get a 400 or a 502.",
    next: `Write https://${hostPort(host, port)} as the target of ${site}; with a certificate of its own also upstreamTls: { verify: false }.`,
  });

const hostPort = (host: string, port: number): string => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);

/** 400 with forwarding headers, something else without: it does not trust us. */
function distrusts(site: SiteConfig, { text, localAddress }: TargetAnswer): Note {
  const ours = localAddress === undefined ? "the address of this machine" : plainAddress(localAddress);
  const isBare = text.trim() === BARE_400;
  const routed = site.routes.map(({ target }) => target.text).join(", ");
  const yaml = `http:\n  use_x_forwarded_for: true\n  trusted_proxies:\n    - ${ours}\n`;
  const found = note("error", isBare ? "HOME_ASSISTANT_UNTRUSTED" : "TARGET_REFUSES_FORWARDING", {
    subject: site.name,
    seen: `${isBare ? "Home Assistant" : "The target"} at ${routed} answers 400 to forwarding headers from ${ours}.`,
    why: "Every visitor through Gatehouse gets that 400; without the headers it answers.",
    next: isBare
      ? `In Home Assistant, Settings > System > Network > HTTP server: switch on "use X-Forwarded-For", add ${ours} to the trusted proxies, and confirm within five minutes after its restart. Before 2026.8: the lines below in configuration.yaml.`
      : `Let it trust the proxy ${ours}, or set forwardingHeaders: false for ${site.name}.`,
  });
  return isBare ? { ...found, snippets: { "configuration.yaml": yaml } } : found;
}
