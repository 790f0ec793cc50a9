/**
 * Where does the router keep its UPnP description?
 * Owns: the SSDP search (UPnP Device Architecture 1.1 §1.3) and who is believed: the gateway alone.
 * Never: reads the description.
 */
import { createSocket } from "node:dgram";
import { errorText, GatehouseError } from "../core/errors.ts";

const GROUP = "239.255.255.250";
const PORT = 1900;
/** A device may take this long to answer (§1.3.2, MX); it is also the time between two searches. */
const MX_SECONDS = 2;
/** UDP loses; §1.3.2 recommends more than one sending. */
const ROUNDS = 2;
/** Answers looked at: whole homes answer a search, each device a few times. */
const MAX_ANSWERS = 64;
const MAX_ANSWER_BYTES = 2_000;

/** IGD v2 routers answer to v1 as well, by the rule that devices stay compatible; not all keep it. */
const TARGETS = [
  "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
  "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
];

export interface SearchOptions {
  gateway: string;
  ownAddress: string;
  /** Where to search; a test's peer is no multicast group. Default 239.255.255.250:1900. */
  group?: { address: string; port: number };
  signal: AbortSignal;
}

/**
 * The address of the description, on the gateway itself: answers of other machines, and answers of the gateway that send
 * us elsewhere, are skipped.
 * @throws GATEHOUSE_ROUTER_SILENT after 4 s, the signal's reason
 */
export function searchRouter({ gateway, ownAddress, group, signal }: SearchOptions): Promise<URL> {
  const { address = GROUP, port = PORT } = group ?? {};
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const socket = createSocket("udp4");
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    let answers = 0;
    const finish = (end: () => void): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      socket.close();
      end();
    };
    const onAbort = (): void => finish(() => reject(signal.reason as Error));
    const silent = (why: string, cause?: unknown): void =>
      finish(() =>
        reject(
          new GatehouseError("GATEHOUSE_ROUTER_SILENT", {
            message: `The router ${gateway} does not answer UPnP: ${why}.`,
            hint: "Turn on UPnP in the router, or enter the forwards there by hand: gatehouse router checklist",
            cause,
          }),
        ),
      );
    const search = (round: number): void => {
      if (round === ROUNDS) {
        silent(`${round} searches, no answer from it`);
        return;
      }
      for (const target of TARGETS) {
        const text = `M-SEARCH * HTTP/1.1\r\nHOST: ${GROUP}:${PORT}\r\nMAN: "ssdp:discover"\r\nMX: ${MX_SECONDS}\r\nST: ${target}\r\n\r\n`;
        socket.send(text, port, address, (error) => {
          if (error) silent(errorText(error), error);
        });
      }
      timer = setTimeout(() => search(round + 1), MX_SECONDS * 1_000);
    };
    socket.on("error", (error) => silent(errorText(error), error));
    socket.on("message", (message, from) => {
      if (from.address !== gateway || message.length > MAX_ANSWER_BYTES || ++answers > MAX_ANSWERS) return;
      const location = readSearchAnswer(message.toString("latin1"), gateway);
      if (location !== undefined) finish(() => resolve(location));
    });
    signal.addEventListener("abort", onAbort, { once: true });
    socket.bind(0, ownAddress, () => {
      if (isOver) return;
      try {
        socket.setMulticastInterface(ownAddress);
        search(0);
      } catch (error) {
        silent(errorText(error), error);
      }
    });
  });
}

/** Undefined unless it is a gateway's answer with a plain http address on that very gateway. */
export function readSearchAnswer(text: string, gateway: string): URL | undefined {
  const [status = "", ...lines] = text.split(/\r?\n/);
  if (!/^HTTP\/1\.[01] 200\b/.test(status)) return undefined;
  const header = (name: string): string | undefined =>
    lines
      .find((line) => line.toLowerCase().startsWith(`${name}:`))
      ?.slice(name.length + 1)
      .trim();
  if (!/:device:InternetGatewayDevice:[1-9]$/.test(header("st") ?? "")) return undefined;
  return onGateway(header("location") ?? "", undefined, gateway);
}

/** An address that a router gave, resolved against where it was read; undefined when it leads to another machine. */
export function onGateway(address: string, base: URL | undefined, gateway: string): URL | undefined {
  const url = URL.parse(address, base?.href);
  if (url === null) return undefined;
  const isThere = url.protocol === "http:" && url.hostname === gateway && url.username === "" && url.password === "";
  return isThere ? url : undefined;
}
