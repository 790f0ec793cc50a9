/**
 * What does a forwarded TCP port cost, in either direction?
 * Owns: Gatehouse with a port in its table, beside socat and HAProxy (mode tcp); the same loads as download and upload.
 * Never: ends TLS: here nobody looks at a byte.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CertificateBundle } from "../src/storage/bundles.ts";
import { h2load } from "./loads/h2load.ts";
import { costOf, type Measure, type Unit } from "./measure.ts";
import { start } from "./processes.ts";
import { gatehouse } from "./rivals/gatehouse.ts";
import {
  freePort,
  type Ground,
  isListening,
  type Rival,
  type RunningRival,
  versionOf,
  waitUntil,
} from "./rivals/rival.ts";

export function forwardRivals(options: {
  entry: string;
  base: string | undefined;
  bundle: CertificateBundle;
}): Rival[] {
  const { entry, base, bundle } = options;
  return [
    forwarding("gatehouse", entry, bundle),
    ...(base === undefined ? [] : [forwarding("base", base, bundle)]),
    socat,
    haproxyTcp,
  ];
}

/** `httpsPort` is the forwarded one: that is where the load goes. */
function forwarding(name: string, entry: string, bundle: CertificateBundle): Rival {
  return {
    name,
    speaksH2: false,
    async start(ground) {
      const port = await freePort();
      const ports = `ports: { "tcp/127.0.0.1:${port}": "127.0.0.1:${ground.targetPort}" }\n`;
      return { ...(await gatehouse({ name, entry, bundle, more: ports }).start(ground)), httpsPort: port };
    },
  };
}

const socat: Rival = {
  name: "socat",
  needs: { program: "socat", debianPackage: "socat" },
  speaksH2: false,
  start: (ground) =>
    startPlain("socat", "-V", ground, (port) => [
      "socat",
      `TCP-LISTEN:${port},fork,reuseaddr,bind=127.0.0.1,nodelay`,
      `TCP:127.0.0.1:${ground.targetPort},nodelay`,
    ]),
};

const haproxyTcp: Rival = {
  name: "haproxy",
  needs: { program: "haproxy", debianPackage: "haproxy" },
  speaksH2: false,
  start: (ground) =>
    startPlain("haproxy", "-v", ground, (port) => {
      const file = join(ground.folder, "haproxy.cfg");
      writeFileSync(
        file,
        `global
  nbthread ${ground.workers}
  maxconn 9000
  log stdout format raw local0
defaults
  mode tcp
  log global
  option tcplog
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen port
  bind 127.0.0.1:${port}
  server target 127.0.0.1:${ground.targetPort}
`,
      );
      return ["haproxy", "-db", "-f", file];
    }),
};

async function startPlain(
  name: string,
  versionFlag: string,
  ground: Ground,
  commandFor: (port: number) => string[],
): Promise<RunningRival> {
  const port = await freePort();
  const logFile = join(ground.folder, "access.log");
  const process = start(commandFor(port), {
    core: ground.core,
    stdoutFile: logFile,
    stderrFile: join(ground.folder, "error.log"),
  });
  await waitUntil(name, process, () => isListening(port));
  return {
    name,
    version: await versionOf(name, [versionFlag]),
    pid: process.pid,
    httpsPort: port,
    logFile,
    stop: process.stop,
  };
}

const TEN_MB = 10_000_000;
const PER_GB: Unit = { perSecond: 1e3, of: (result) => result.bodyBytes / 1e9 };
const plain = { protocol: "h1", isPlain: true, connections: 4 } as const;

/** Cost: the mean of both directions; facts: each of them, and what went through. */
export function forwardCost(): Measure {
  const down = costOf(h2load({ ...plain, paths: [`/bytes/${TEN_MB}`], answerBytes: TEN_MB }), PER_GB, 4);
  const up = costOf(h2load({ ...plain, paths: ["/upload"], answerBytes: 2, uploadBytes: TEN_MB }), PER_GB, 4);
  return async (at) => {
    const [toClient, fromClient] = [await down(at), await up(at)];
    const megabytes = ({ perSecond }: { perSecond: number }): number => (perSecond * TEN_MB) / 1e6;
    return {
      ...toClient,
      cost: (toClient.cost + fromClient.cost) / 2,
      perSecond: (toClient.perSecond + fromClient.perSecond) / 2,
      done: toClient.done + fromClient.done,
      failed: toClient.failed + fromClient.failed,
      facts: {
        downMsPerGb: toClient.cost,
        upMsPerGb: fromClient.cost,
        downMBPerSecond: megabytes(toClient),
        upMBPerSecond: megabytes(fromClient),
      },
    };
  };
}
