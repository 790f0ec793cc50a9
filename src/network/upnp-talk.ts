/**
 * How is a UPnP service of the router called?
 * Owns: one HTTP exchange with the gateway, its bounds; SOAP calls and the error numbers in their answers.
 * Never: knows what a port mapping is; follows a redirect.
 */
import { request as httpRequest } from "node:http";
import { errorText, GatehouseError } from "../core/errors.ts";
import { escapeXml, findAll, readXml, textOf, type XmlElement } from "./xml.ts";

/** Some routers think for seconds. */
const ANSWER_WITHIN_MS = 8_000;
const MAX_ANSWER_BYTES = 256_000;

/** What a router says instead of doing it: UPnPError of UDA 1.1 §3.2.2, `code` as IGD lists them. */
export class SoapFault extends Error {
  readonly code: number;
  constructor(code: number, description: string) {
    super(description === "" ? `error ${code}` : `error ${code}, ${description}`);
    this.code = code;
  }
}

export interface UpnpService {
  type: string;
  control: URL;
  /** Call there instead of the address's host: an IPv6 address, with `%interface` when link-local. */
  host?: string;
}

/** @throws GATEHOUSE_ROUTER_SILENT, GATEHOUSE_ROUTER_GARBAGE, the signal's reason */
export async function fetchXml(url: URL, ownAddress: string, signal: AbortSignal): Promise<XmlElement> {
  const { status, text } = await exchange(url, { method: "GET", headers: {}, body: "" }, ownAddress, undefined, signal);
  const root = status === 200 ? readXml(text) : undefined;
  if (root === undefined) throw garbage(url, `status ${status}, and no description that can be read`);
  return root;
}

/**
 * One action (UDA 1.1 §3.2). Resolves to the answer's arguments.
 * @throws SoapFault when the router says no; otherwise like fetchXml
 */
export async function callAction(
  service: UpnpService,
  action: string,
  args: Readonly<Record<string, string | number>>,
  ownAddress: string,
  signal: AbortSignal,
): Promise<(name: string) => string | undefined> {
  const inner = Object.entries(args).map(([name, value]) => `<${name}>${escapeXml(String(value))}</${name}>`);
  const body = `<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:${action} xmlns:u="${service.type}">${inner.join("")}</u:${action}></s:Body></s:Envelope>\r\n`;
  const headers = { "content-type": 'text/xml; charset="utf-8"', soapaction: `"${service.type}#${action}"` };
  const { status, text } = await exchange(
    service.control,
    { method: "POST", headers, body },
    ownAddress,
    service.host,
    signal,
  );
  const root = readXml(text);
  if (status === 200 && root !== undefined) {
    const [answer] = findAll(root, `${action}Response`);
    if (answer !== undefined) return (name) => textOf(answer, name);
  }
  const code = root && textOf(root, "errorCode");
  if (root === undefined || code === undefined || !/^\d{3}$/.test(code)) {
    throw garbage(service.control, `status ${status} to ${action}, and no answer that can be read`);
  }
  throw new SoapFault(Number(code), (textOf(root, "errorDescription") ?? "").slice(0, 100));
}

interface Sent {
  method: "GET" | "POST";
  headers: Record<string, string>;
  body: string;
}

function exchange(
  url: URL,
  { method, headers, body }: Sent,
  ownAddress: string,
  host: string | undefined,
  outer: AbortSignal,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const late = AbortSignal.timeout(ANSWER_WITHIN_MS);
    const signal = AbortSignal.any([outer, late]);
    const fail = (error: Error): void => {
      if (outer.aborted) {
        reject(outer.reason as Error);
        return;
      }
      const why = late.aborted ? `nothing within ${ANSWER_WITHIN_MS / 1_000} s` : errorText(error);
      reject(
        new GatehouseError("GATEHOUSE_ROUTER_SILENT", {
          message: `The router ${url.hostname} does not answer UPnP calls on port ${url.port || "80"}: ${why}.`,
          hint: "Turn UPnP off and on in the router, or enter the forwards by hand: gatehouse router checklist",
          cause: error,
        }),
      );
    };
    const request = httpRequest(
      {
        hostname: host ?? url.hostname,
        port: url.port || 80,
        path: `${url.pathname}${url.search}`,
        method,
        // Some routers hang on a kept connection, and one question a minute needs none.
        agent: false,
        localAddress: ownAddress,
        headers: {
          ...headers,
          host: hostHeader(url, host),
          "content-length": Buffer.byteLength(body),
          connection: "close",
        },
        signal,
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on("error", fail);
        response.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error("its answer does not end"));
          else chunks.push(chunk);
        });
        response.on("end", () => {
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") });
        });
      },
    );
    request.on("error", fail);
    request.end(body);
  });
}

/** A scope is of no use to the other side (RFC 6874 §3). */
const hostHeader = (url: URL, host: string | undefined): string =>
  host === undefined ? url.host : `[${host.split("%")[0]}]:${url.port || 80}`;

export function garbage(url: URL, what: string): GatehouseError {
  return new GatehouseError("GATEHOUSE_ROUTER_GARBAGE", {
    message: `The router ${url.hostname} makes no sense by UPnP: ${what}.`,
    hint: "Update the router's software, or enter the forwards by hand: gatehouse router checklist",
  });
}
