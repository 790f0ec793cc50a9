/**
 * Caddy with its defaults, on one Go processor.
 * Owns: its Caddyfile and process.
 * Never: lets it ask a CA for anything, or listen for HTTP/3, which no other here speaks.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { start } from "../processes.ts";
import { freePort, type Ground, isListening, type Rival, versionOf, waitUntil } from "./rival.ts";

export const caddy: Rival = {
  name: "caddy",
  needs: { program: "caddy", debianPackage: "caddy" },
  speaksH2: true,
  async start(ground) {
    const httpsPort = await freePort();
    const logFile = join(ground.folder, "access.log");
    const file = join(ground.folder, "Caddyfile");
    writeFileSync(file, configuration(ground, httpsPort, logFile));
    const child = start(["caddy", "run", "--config", file, "--adapter", "caddyfile"], {
      core: ground.core,
      stderrFile: join(ground.folder, "error.log"),
      env: {
        ...process.env,
        GOMAXPROCS: String(ground.workers),
        HOME: ground.folder,
        XDG_DATA_HOME: ground.folder,
        XDG_CONFIG_HOME: ground.folder,
      },
    });
    await waitUntil("caddy", child, () => isListening(httpsPort));
    return {
      name: "caddy",
      version: await versionOf("caddy", ["version"]),
      pid: child.pid,
      httpsPort,
      logFile,
      stop: child.stop,
    };
  },
};

function configuration({ host, certificate, targetPort }: Ground, port: number, logFile: string): string {
  return `{
  admin off
  auto_https off
  servers {
    protocols h1 h2
  }
}
https://${host}:${port} {
  bind 127.0.0.1
  tls ${certificate.chainFile} ${certificate.keyFile}
  log {
    output file ${logFile} {
      roll_disabled
    }
  }
  reverse_proxy 127.0.0.1:${targetPort}
}
`;
}
