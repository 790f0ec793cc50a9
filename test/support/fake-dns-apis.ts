/**
 * Providers' web interfaces, as their documentation has them, on loopback: what a test asks for is kept and can be read.
 * DuckDNS: https://www.duckdns.org/spec.jsp. Cloudflare: developers.cloudflare.com/api. deSEC: desec.readthedocs.io.
 */
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";

interface After {
  after(work: () => Promise<void>): void;
}

export interface FakeApi {
  url: string;
  /** `METHOD path`, in order. */
  calls: string[];
  /** `NAME TYPE VALUE`, sorted. */
  records(): string[];
  /** Answer this in place of the next calls. */
  failWith(status: number, body: string, headers?: Record<string, string>): void;
  heal(): void;
}

interface Row {
  id: string;
  name: string;
  type: string;
  content: string;
  proxied?: boolean;
}

type Answer = { status: number; body: unknown };
type Handle = (
  request: { method: string; url: URL; body: unknown; token: string | undefined; basic: string },
  rows: Row[],
) => Answer;

const TOKEN = "fake-token";

async function start(t: After, handle: Handle, first: readonly Row[] = []): Promise<FakeApi> {
  const rows: Row[] = [...first];
  const calls: string[] = [];
  let failure: { status: number; body: string; headers: Record<string, string> } | undefined;
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on("error", () => {});
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const url = new URL(request.url ?? "/", "http://fake");
      calls.push(`${request.method ?? ""} ${url.pathname}${url.search}`);
      if (failure !== undefined) {
        response.writeHead(failure.status, failure.headers).end(failure.body);
        return;
      }
      const text = Buffer.concat(chunks).toString();
      const body: unknown = text === "" ? undefined : JSON.parse(text);
      const token = /^(?:Bearer|Token) (.+)$/.exec(request.headers.authorization ?? "")?.[1];
      const [, coded = ""] = /^Basic (.+)$/.exec(request.headers.authorization ?? "") ?? [];
      const basic = Buffer.from(coded, "base64").toString();
      const answer = handle({ method: request.method ?? "", url, body, token, basic }, rows);
      response.writeHead(answer.status, { "content-type": "application/json" });
      response.end(typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    calls,
    records: () => rows.map(({ name, type, content }) => `${name} ${type} ${content}`).sort(),
    failWith: (status, body, headers = {}) => (failure = { status, body, headers }),
    heal: () => (failure = undefined),
  };
}

/** One name, `myhome`, with one TXT record and one address of each kind. */
export function startFakeDuckDns(t: After): Promise<FakeApi> {
  return start(t, ({ url }, rows) => {
    const query = url.searchParams;
    if (url.pathname !== "/update" || query.get("token") !== TOKEN || query.get("domains") !== "myhome") {
      return { status: 200, body: "KO" };
    }
    const set = (type: string, content: string | null): void => {
      if (content === null) return;
      const others = rows.filter((row) => row.type !== type);
      rows.splice(0, rows.length, ...others, { id: type, name: "myhome", type, content });
    };
    if (query.get("clear") === "true") rows.splice(0, rows.length, ...rows.filter(({ type }) => type !== "TXT"));
    else set("TXT", query.get("txt"));
    const before = JSON.stringify(rows);
    set("A", query.get("ip"));
    set("AAAA", query.get("ipv6"));
    const told = query.has("txt") ? query.get("txt") : `${query.get("ip") ?? ""}\n${query.get("ipv6") ?? ""}`;
    const change = query.has("txt") || JSON.stringify(rows) !== before ? "UPDATED" : "NOCHANGE";
    return { status: 200, body: query.get("verbose") === "true" ? `OK\n${told}\n${change}` : "OK" };
  });
}

/** One zone, `example.org`, behind `/client/v4`; TXT contents come back in quotes. */
export function startFakeCloudflare(t: After, first: readonly Row[] = []): Promise<FakeApi> {
  let counter = 0;
  const fine = (result: unknown): Answer => ({
    status: 200,
    body: { success: true, errors: [], messages: [], result },
  });
  const wrong = (status: number, code: number, message: string): Answer => ({
    status,
    body: { success: false, errors: [{ code, message }], messages: [], result: null },
  });
  return start(
    t,
    ({ method, url, body, token }, rows) => {
      if (token !== TOKEN) return wrong(403, 9109, "Invalid access token");
      const path = url.pathname.replace("/client/v4", "");
      if (path === "/zones") return fine(url.searchParams.get("name") === "example.org" ? [{ id: "zone1" }] : []);
      const [, id] = /^\/zones\/zone1\/dns_records(?:\/(\w+))?$/.exec(path) ?? [undefined, undefined];
      if (!path.startsWith("/zones/zone1/dns_records")) return wrong(404, 7003, "Could not route");
      const given = body as { type: string; name: string; content: string; ttl?: number } | undefined;
      if (method === "GET") {
        const [type, name] = [url.searchParams.get("type"), url.searchParams.get("name")];
        return fine(rows.filter((row) => row.type === type && row.name === name));
      }
      if (method === "POST" && given !== undefined) {
        if ((given.ttl ?? 1) !== 1 && (given.ttl ?? 0) < 60) return wrong(400, 9021, "Invalid TTL");
        const same = rows.some(
          (row) => row.name === given.name && row.type === given.type && row.content === given.content,
        );
        if (same) return wrong(400, 81058, "An identical record already exists.");
        const row = { id: `rec${++counter}`, name: given.name, type: given.type, content: given.content };
        rows.push(row);
        return fine(row);
      }
      const at = rows.findIndex((row) => row.id === id);
      const row = rows[at];
      if (row === undefined) return wrong(404, 81044, "Record does not exist.");
      if (method === "DELETE") rows.splice(at, 1);
      if (method === "PATCH" && given !== undefined) row.content = given.content;
      return fine(row);
    },
    first,
  );
}

/** One domain, `example.org`, of sets of records. */
export function startFakeDesec(t: After): Promise<FakeApi> {
  return start(t, ({ method, url, body, token }, rows) => {
    if (token !== TOKEN) return { status: 401, body: { detail: "Invalid token." } };
    const path = url.pathname.replace("/api/v1", "");
    if (path === "/domains/") {
      const name = url.searchParams.get("owns_qname") ?? "";
      return { status: 200, body: name.endsWith("example.org") ? [{ name: "example.org" }] : [] };
    }
    const [, subname, type] = /^\/domains\/example\.org\/rrsets\/(?:([^/]+)\/([A-Z]+)\/)?$/.exec(path) ?? [];
    const nameOf = (sub: string): string => (sub === "" || sub === "@" ? "example.org" : `${sub}.example.org`);
    if (method === "GET" && subname !== undefined) {
      const found = rows.filter((row) => row.name === nameOf(subname) && row.type === type);
      if (found.length === 0) return { status: 404, body: { detail: "Not found." } };
      return { status: 200, body: { subname, type, ttl: 3600, records: found.map(({ content }) => content) } };
    }
    const sets = body as { subname: string; type: string; ttl: number; records: string[] }[];
    for (const set of sets) {
      if (set.ttl < 3600) return { status: 400, body: [{ ttl: ["Ensure this value is at least 3600."] }] };
      const name = nameOf(set.subname);
      const others = rows.filter((row) => row.name !== name || row.type !== set.type);
      const fresh = set.records.map((content, at) => ({ id: String(at), name, type: set.type, content }));
      rows.splice(0, rows.length, ...others, ...fresh);
    }
    return { status: 200, body: sets };
  });
}

/** One name, `home.ddns.test`, of user `me`; answers with the words of dyndns2. */
export function startFakeDyndns2(t: After): Promise<FakeApi> {
  return start(t, ({ url, basic }, rows) => {
    const query = url.searchParams;
    if (url.pathname !== "/nic/update" || basic !== `me:${TOKEN}`) return { status: 401, body: "badauth" };
    if (query.get("hostname") !== "home.ddns.test") return { status: 200, body: "nohost" };
    const before = JSON.stringify(rows);
    for (const [type, content] of [
      ["A", query.get("myip")],
      ["AAAA", query.get("myipv6")],
    ] as const) {
      if (content === null) continue;
      const others = rows.filter((row) => row.type !== type);
      rows.splice(0, rows.length, ...others, { id: type, name: "home.ddns.test", type, content });
    }
    return { status: 200, body: `${JSON.stringify(rows) === before ? "nochg" : "good"} ${query.get("myip")}` };
  });
}
