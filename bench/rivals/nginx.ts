/**
 * nginx as a good guide would set it up.
 * Owns: its configuration and process.
 * Never: asks less of it than of the others: TLS, access log, a header of its own, both directions streamed.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { start } from "../processes.ts";
import { freePort, type Ground, isListening, type Rival, versionOf, waitUntil } from "./rival.ts";

export const nginx: Rival = {
  name: "nginx",
  needs: { program: "nginx", debianPackage: "nginx" },
  speaksH2: true,
  async start(ground) {
    const httpsPort = await freePort();
    const logFile = join(ground.folder, "access.log");
    const file = join(ground.folder, "nginx.conf");
    mkdirSync(join(ground.folder, "tmp"));
    writeFileSync(file, configuration(ground, httpsPort, logFile));
    const errors = join(ground.folder, "error.log");
    const process = start(["nginx", "-p", ground.folder, "-e", errors, "-c", file], {
      core: ground.core,
      stderrFile: errors,
    });
    await waitUntil("nginx", process, () => isListening(httpsPort));
    return {
      name: "nginx",
      version: await versionOf("nginx", ["-v"]),
      pid: process.pid,
      httpsPort,
      logFile,
      stop: process.stop,
    };
  },
};

const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

function configuration(
  { folder, host, certificate, targetPort, workers }: Ground,
  port: number,
  logFile: string,
): string {
  return `daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes ${workers};
pid ${join(folder, "nginx.pid")};
events { worker_connections 9000; }
http {
  access_log ${logFile} combined;
  ${paths.map((name) => `${name}_temp_path ${join(folder, "tmp", name)};`).join("\n  ")}
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  ssl_certificate ${certificate.chainFile};
  ssl_certificate_key ${certificate.keyFile};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:SSL:10m;
  ssl_session_timeout 1d;
  ssl_session_tickets on;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream target {
    server 127.0.0.1:${targetPort};
    keepalive 512;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port} ssl http2;
    server_name ${host};
    location / {
      proxy_pass http://target;
      proxy_http_version 1.1;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
      # Both bodies go through as they come, nothing is spooled to the disk: what Gatehouse does, too.
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }
  }
}
`;
}
