/**
 * Do the ports open for somebody outside?
 * Owns: asking the outside prober of the file, and reading what the CA's staging saw.
 * Never: asks anybody outside who is not named in the file or wanted by a flag.
 *
 * The prober's manner is echoip's (https://github.com/mpolden/echoip, which anybody can run on a machine outside):
 * `GET /port/443` connects back to the caller and answers `{ "ip", "port", "reachable" }`.
 */
import { request } from "node:https";
import type { Config } from "../config/model.ts";
import { errorText, isGatehouseError } from "../core/errors.ts";
import { type Note, note } from "./finding.ts";
import type { Running } from "./running.ts";

/** It waits for a connection of its own. */
const PROBE_WITHIN_MS = 12_000;
const MAX_BYTES = 4_096;

export interface OutsideLook {
  config: Config;
  ownAddress: string | undefined;
  publicAddress: string | undefined;
  running: Running | undefined;
  /** Has the CA's staging look at this name; undefined: nobody wanted that. */
  rehearse: (() => Promise<{ name: string }>) | undefined;
  signal: AbortSignal;
}

export async function lookFromOutside(look: OutsideLook): Promise<Note[]> {
  const { config, rehearse, signal } = look;
  const { prober } = config.doctor;
  const ports = config.listen.http.length > 0 ? [443, 80] : [443];
  const probed = prober === undefined ? [] : await Promise.all(ports.map((port) => probe(prober, port, look)));
  const rehearsed = rehearse === undefined ? [] : [await rehearsal(rehearse, signal)];
  const notes = [...probed, ...rehearsed];
  if (notes.length > 0) return notes;
  return [
    note("unknown", "OUTSIDE_NOT_TRIED", {
      seen: `${ports.length > 1 ? "Ports 443 and 80 were" : "Port 443 was"} not tried from outside.`,
      why: "Nobody inside can see what the provider and the router let in.",
      next: "Take a phone off the Wi-Fi and open the name; or gatehouse doctor --rehearse has the CA's staging look.",
    }),
  ];
}

interface Probed {
  address: string | undefined;
  isOpen: boolean;
}

async function probe(prober: string, port: number, look: OutsideLook): Promise<Note> {
  const { config, running, ownAddress = "this machine", publicAddress, signal } = look;
  const url = prober.replaceAll("{port}", String(port));
  const { host } = new URL(url);
  const subject = `port ${port}`;
  let answer: Probed;
  try {
    answer = await askProber(url, signal);
  } catch (error) {
    signal.throwIfAborted();
    const seen = `The prober ${host} did not say whether port ${port} is open: ${errorText(error)}.`;
    return note("unknown", "OUTSIDE_PROBER_SILENT", { subject, seen });
  }
  const { address = publicAddress ?? "this home", isOpen } = answer;
  if (publicAddress !== undefined && address !== publicAddress) {
    const seen = `The prober ${host} looked at ${address} and not at ${publicAddress}, so it says nothing about port ${port}.`;
    return note("unknown", "OUTSIDE_PROBER_ELSEWHERE", { subject, seen });
  }
  if (isOpen) return note("ok", "OUTSIDE_OPEN", { subject, seen: `Port ${port} of ${address} is open for ${host}.` });
  const kind = port === 443 ? "https" : "http";
  const to = running?.listeners.find((one) => one.kind === kind)?.port ?? port;
  const isMapped = running?.router.ports.some((one) => one.externalPort === port && one.state === "mapped") === true;
  // Without 80, auto proves names by 443, and visitors who type no https:// are all that is lost.
  const isGrave = port === 443 || config.acme.challenge === "http-01";
  return note(isGrave ? "error" : "warning", "OUTSIDE_CLOSED", {
    subject,
    seen: `From outside, port ${port} of ${address} does not open (${host} tried).`,
    why:
      port === 443
        ? "No visitor gets in."
        : "CAs that check by port 80 do not get in, and neither does who types the name without https://.",
    next: isMapped
      ? `The router has it mapped here, so the provider keeps it out: ask for port ${port} to be opened${port === 80 ? ", and write acme: { challenge: auto } or dns-01" : ", or for another line"}.`
      : `Forward TCP ${port} of the router to ${ownAddress}:${to}; gatehouse router checklist prints the form.`,
  });
}

export function askProber(url: string, signal: AbortSignal): Promise<Probed> {
  return new Promise((resolve, reject) => {
    const bound = AbortSignal.any([signal, AbortSignal.timeout(PROBE_WITHIN_MS)]);
    const headers = { accept: "application/json", "user-agent": "gatehouse-doctor" };
    // By IPv4, or it would try our IPv6 address.
    const asked = request(url, { family: 4, agent: false, headers, signal: bound }, (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("error", reject);
      answer.on("data", (piece: string) => {
        text += piece;
        if (text.length > MAX_BYTES) answer.destroy(new Error("its answer is a page"));
      });
      answer.on("end", () => {
        try {
          const read = JSON.parse(text) as { ip?: unknown; reachable?: unknown };
          if (typeof read.reachable !== "boolean") throw new Error("no answer of a prober");
          resolve({ address: typeof read.ip === "string" ? read.ip : undefined, isOpen: read.reachable });
        } catch {
          reject(new Error(`status ${answer.statusCode}, and no { "reachable": … }`));
        }
      });
    });
    asked.on("error", reject);
    asked.end();
  });
}

async function rehearsal(rehearse: () => Promise<{ name: string }>, signal: AbortSignal): Promise<Note> {
  try {
    const { name: subject } = await rehearse();
    return note("ok", "OUTSIDE_PROVED", { subject, seen: `The CA's staging reached this home and proved ${subject}.` });
  } catch (error) {
    signal.throwIfAborted();
    if (!isGatehouseError(error, "GATEHOUSE_ACME_CHALLENGE_FAILED")) {
      const seen = `The CA's staging did not look: ${errorText(error)}`;
      return note("unknown", "OUTSIDE_NOT_REHEARSED", { seen });
    }
    return note("error", "OUTSIDE_NOT_PROVED", {
      seen: error.message,
      why: "The CA itself would refuse in the same way.",
      next: error.hint,
    });
  }
}
