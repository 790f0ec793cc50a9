/**
 * A real CA: Debian's pebble, or a newer one that GATEHOUSE_PEBBLE names (a path; `go install
 * github.com/letsencrypt/pebble/v2/cmd/pebble@latest` makes one), with its DNS server answering 127.0.0.1 for every name.
 * Each gets free ports and a throw-away certificate for its own HTTPS, and is ended by its pid.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { get, request } from "node:https";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCa } from "./certificates.ts";
import { freePorts } from "./ports.ts";
import { needs } from "./programs.ts";

/** For node:test's `skip`. */
export const needsPebble: string | false = needs("pebble-challtestsrv", "pebble") || needs("pebble");

/** Enough to see what went wrong; a NONCEREJECT run writes megabytes. */
const MAX_LOG = 200_000;
const READY_WITHIN_MS = 20_000;

export interface PebbleOptions {
  /** Where Pebble's validation asks for tokens: the plain port of who is tested. */
  httpPort: number;
  /** Where it asks for `acme-tls/1`: the TLS port of who is tested. Default: one where nobody listens. */
  tlsPort?: number;
  /** External accounts: key identifier → HMAC key (base64url). With any, every new account needs one. */
  eab?: Readonly<Record<string, string>>;
  /** host:port of the DNS server to believe. Default: one that answers 127.0.0.1 for every name. */
  dnsServer?: string;
  /** PEBBLE_WFE_NONCEREJECT and its like; PEBBLE_VA_NOSLEEP=1 and no nonce refusals unless given. */
  env?: Readonly<Record<string, string>>;
  validitySeconds?: number;
  domainBlocklist?: readonly string[];
  /** Name → seconds of life. Debian's does not know of profiles. */
  profiles?: Readonly<Record<string, number>>;
}

export interface Pebble {
  directoryUrl: string;
  /** host:port of the ACME listener. */
  address: string;
  /** The root that signs the certificates it issues; another one after each restart. From 1 on: alternate ones. */
  rootPem(index?: number): Promise<string>;
  /** What it says of a certificate that it signed: `Valid` or `Revoked`. */
  statusOf(serial: string): Promise<string>;
  /** From now on it says this of the renewal of a certificate. Debian's cannot. */
  setRenewalInfo(chainPem: string, info: unknown): Promise<void>;
  /** What to trust for its own HTTPS. */
  caPem: string;
  /** Orders made since its start. */
  orders(): number;
  /** The end of what it wrote; print it when a test fails. */
  log(): string;
  stop(): Promise<void>;
  /** The same ports, and total amnesia: accounts, orders and roots are gone. */
  restart(): Promise<void>;
}

/** @param t  ends it, when given; else call `stop`. */
export async function startPebble(
  t: { after(work: () => Promise<void>): void } | undefined,
  options: PebbleOptions,
): Promise<Pebble> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-pebble-"));
  const ca = await makeCa({ name: "Pebble's own HTTPS" });
  const own = await ca.issue({ names: ["localhost", "127.0.0.1"] });
  const [acmePort, managementPort, dnsPort, dnsManagementPort] = await freePorts(4);
  const address = `127.0.0.1:${acmePort}`;
  await writeFile(join(folder, "key.pem"), own.keyPem);
  await writeFile(join(folder, "cert.pem"), own.chainPem);
  const config = {
    pebble: {
      listenAddress: address,
      managementListenAddress: `127.0.0.1:${managementPort}`,
      certificate: join(folder, "cert.pem"),
      privateKey: join(folder, "key.pem"),
      httpPort: options.httpPort,
      tlsPort: options.tlsPort ?? 1,
      ocspResponderURL: "",
      externalAccountBindingRequired: options.eab !== undefined,
      ...(options.eab !== undefined && { externalAccountMACKeys: options.eab }),
      ...(options.validitySeconds !== undefined && { certificateValidityPeriod: options.validitySeconds }),
      ...(options.domainBlocklist !== undefined && { domainBlocklist: options.domainBlocklist }),
      ...(options.profiles !== undefined && { profiles: describedProfiles(options.profiles) }),
    },
  };
  await writeFile(join(folder, "config.json"), JSON.stringify(config));

  let log = "";
  let orders = 0;
  const note = (line: string): void => {
    log = `${log}${line}\n`.slice(-MAX_LOG);
    orders = Number(/There are now (\d+) orders in the db/.exec(line)?.[1] ?? orders);
  };
  const env = {
    ...process.env,
    PEBBLE_VA_NOSLEEP: "1",
    PEBBLE_WFE_NONCEREJECT: "0",
    // One in a hundred is reused all the same (`Intn(100) > percent` makes a new one): who expects the challenge of a name's
    // second order must be ready to ask again.
    PEBBLE_AUTHZREUSE: "0",
    ...options.env,
  };
  // With NOSLEEP set, whatever its value, Pebble does not sleep at all.
  if (options.env?.["PEBBLE_VA_SLEEPTIME"] !== undefined) Reflect.deleteProperty(env, "PEBBLE_VA_NOSLEEP");

  const dnsArgs = ["-dns01", `127.0.0.1:${dnsPort}`, "-management", `127.0.0.1:${dnsManagementPort}`];
  const off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"];
  const startCa = (): Promise<ChildProcess> =>
    startProgram(
      process.env["GATEHOUSE_PEBBLE"] ?? "pebble",
      ["-config", join(folder, "config.json"), "-dnsserver", options.dnsServer ?? `127.0.0.1:${dnsPort}`],
      {
        env,
        ready: /ACME directory available at/,
        note,
      },
    );

  let dns: ChildProcess | undefined;
  let pebble: ChildProcess | undefined;
  const stop = async (): Promise<void> => {
    await Promise.all([pebble, dns].map(endProgram));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    dns = await startProgram("pebble-challtestsrv", [...dnsArgs, ...off], {
      env,
      ready: /Starting management server/,
      note,
    });
    pebble = await startCa();
    await waitUntilAnswers(`https://${address}/dir`, ca.caPem);
  } catch (error) {
    await stop();
    throw new Error(`pebble did not start:\n${log}`, { cause: error });
  }

  t?.after(stop);
  return {
    directoryUrl: `https://${address}/dir`,
    address,
    caPem: ca.caPem,
    rootPem: (index = 0) => fetchText(`https://127.0.0.1:${managementPort}/roots/${index}`, ca.caPem),
    statusOf: async (serial) => {
      const text = await fetchText(`https://127.0.0.1:${managementPort}/cert-status-by-serial/${serial}`, ca.caPem);
      return (JSON.parse(text) as { Status: string }).Status;
    },
    async setRenewalInfo(chainPem, info) {
      const body = JSON.stringify({ certificate: chainPem, ariResponse: JSON.stringify(info) });
      await postText(`https://127.0.0.1:${managementPort}/set-renewal-info/`, ca.caPem, body);
    },
    orders: () => orders,
    log: () => log,
    stop,
    async restart() {
      await endProgram(pebble);
      orders = 0;
      pebble = await startCa();
      await waitUntilAnswers(`https://${address}/dir`, ca.caPem);
    },
  };
}

interface StartOptions {
  env: NodeJS.ProcessEnv;
  ready: RegExp;
  note: (line: string) => void;
}

function startProgram(
  program: string,
  args: readonly string[],
  { env, ready, note }: StartOptions,
): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    const late = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`${program} was not ready within ${READY_WITHIN_MS} ms`));
    }, READY_WITHIN_MS);
    const listen = (line: string): void => {
      note(line);
      if (!ready.test(line)) return;
      clearTimeout(late);
      resolve(child);
    };
    createInterface(child.stdout).on("line", listen);
    createInterface(child.stderr).on("line", listen);
    child.on("error", reject);
    child.on("exit", (code) => {
      clearTimeout(late);
      reject(new Error(`${program} ended with ${code}`));
    });
  });
}

async function endProgram(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

/** Pebble says that it is ready a moment before it listens. */
async function waitUntilAnswers(url: string, ca: string): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS;
  for (;;) {
    try {
      await fetchText(url, ca);
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

const describedProfiles = (profiles: Readonly<Record<string, number>>) =>
  Object.fromEntries(
    Object.entries(profiles).map(([name, validityPeriod]) => [
      name,
      { description: `the profile ${name}`, validityPeriod },
    ]),
  );

function postText(url: string, ca: string, body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const asked = request(
      url,
      { ca, agent: false, method: "POST", headers: { "user-agent": "gatehouse-test" } },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (text += chunk));
        response.on("error", reject);
        response.on("end", () => {
          if (response.statusCode === 200) resolve();
          else reject(new Error(`${url} answered ${response.statusCode}: ${text}`));
        });
      },
    );
    asked.on("error", reject);
    asked.end(body);
  });
}

function fetchText(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = get(url, { ca, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve(text));
      response.on("error", reject);
    });
    asked.on("error", reject);
  });
}
