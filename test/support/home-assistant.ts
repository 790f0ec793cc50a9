/**
 * A small Home Assistant: decides about forwarding headers in the order of the real one, and says why only in its log.
 *
 * @see homeassistant/components/http/forwarded.py, components/websocket_api/http.py
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { BlockList, isIP } from "node:net";
import { WebSocketServer } from "ws";

/** The settings of its `http` integration that matter to a proxy. */
export interface HttpSettings {
  use_x_forwarded_for: boolean;
  /** Addresses and CIDR networks; a network with host bits is refused, as Python's ip_network refuses it. */
  trusted_proxies: readonly string[];
}

export interface Visit {
  /** Whom it takes for the client, the scheme it believes in and the host it answers for. */
  remote: string;
  scheme: string;
  host: string;
}

const networkOf = (entry: string): [address: string, bits: number, family: "ipv4" | "ipv6"] => {
  const [address = "", bits] = entry.split("/");
  const isV6 = isIP(address) === 6;
  return [address, bits === undefined ? (isV6 ? 128 : 32) : Number(bits), isV6 ? "ipv6" : "ipv4"];
};

/** @throws Error for an entry that Home Assistant would not take */
function trustOf(entries: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of entries) {
    const [address, bits, family] = networkOf(entry);
    if (isIP(address) === 0) throw new Error(`${entry} does not appear to be an IPv4 or IPv6 network`);
    if (family === "ipv4") {
      const number = address.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0);
      if (number % 2 ** (32 - bits) !== 0) throw new Error(`${entry} has host bits set`);
    }
    list.addSubnet(address, bits, family);
  }
  // An address in its own family alone: ::ffff:192.0.2.1 is not 192.0.2.1 to Python's ipaddress.
  return (address) => !address.startsWith("::ffff:") && list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

const pieces = (lines: readonly string[]): string[] =>
  lines.flatMap((line) => line.split(",")).map((one) => one.trim());

/** Steps 1 to 7 of its decision: whom it takes the visitor for, or what its log says beside the bare 400. */
export function decide(request: IncomingMessage, settings: HttpSettings): Visit | string {
  const isTrusted = trustOf(settings.trusted_proxies);
  const peer = request.socket.remoteAddress ?? "";
  const all = request.headersDistinct;
  const visit: Visit = { remote: peer, scheme: "http", host: request.headers.host ?? "" };
  const forwardedFor = all["x-forwarded-for"];
  if (forwardedFor === undefined) return visit;
  if (!settings.use_x_forwarded_for) {
    return `A request from a reverse proxy was received from ${peer}, but your HTTP integration is not set-up for reverse proxies`;
  }
  if (!isTrusted(peer)) return `Received X-Forwarded-For header from an untrusted proxy ${peer}`;
  const chain = pieces(forwardedFor).reverse();
  if (chain.some((address) => isIP(address) === 0)) return `Invalid IP address in X-Forwarded-For: ${chain.join()}`;
  const stranger = chain.findIndex((address) => !isTrusted(address));
  const index = stranger === -1 ? chain.length - 1 : stranger;
  visit.remote = chain[index] ?? "";
  const protoLines = all["x-forwarded-proto"];
  if (protoLines !== undefined) {
    const schemes = pieces(protoLines).reverse();
    if (protoLines.length > 1) return "Too many headers for X-Forwarded-Proto";
    if (schemes.includes("")) return "Empty item received in X-Forwarded-Proto header";
    if (schemes.length !== 1 && schemes.length !== chain.length)
      return "Incorrect number of elements in X-Forwarded-Proto";
    visit.scheme = (schemes.length === 1 ? schemes[0] : schemes[index]) ?? "";
  }
  const hosts = all["x-forwarded-host"];
  if (hosts !== undefined) {
    visit.host = hosts.at(-1)?.trim() ?? "";
    if (visit.host === "") return "Empty value received in X-Forwarded-Host header";
  }
  return visit;
}

/**
 * Every path answers with the visit as JSON; /api/websocket opens as the real one does.
 *
 * @param log  its own log, which is where the reason for a 400 stands, and nowhere else
 */
export function createHomeAssistant(settings: () => HttpSettings, log: (line: string) => void): Server {
  const judged = (request: IncomingMessage): Visit | undefined => {
    const visit = decide(request, settings());
    if (typeof visit === "object") return visit;
    log(visit);
    return undefined;
  };
  const server = createServer((request, answer) => {
    const visit = judged(request);
    if (visit === undefined)
      answer.writeHead(400, { "content-type": "text/plain; charset=utf-8" }).end("400: Bad Request");
    else answer.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(visit));
  });
  const websockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", () => {});
    if (judged(request) === undefined) {
      socket.end(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\n\r\n400: Bad Request",
      );
      return;
    }
    websockets.handleUpgrade(request, socket, head, (websocket) => {
      websocket.on("error", () => {});
      websocket.send(JSON.stringify({ type: "auth_required", ha_version: "2026.11.1" }));
      websocket.on("message", (text: Buffer) => {
        const { id } = JSON.parse(text.toString()) as { id: number };
        websocket.send(JSON.stringify({ id, type: "pong" }));
      });
    });
  });
  return server;
}
