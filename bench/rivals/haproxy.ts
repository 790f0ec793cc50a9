/**
 * HAProxy as a good guide would set it up.
 * Owns: its configuration and process.
 * Never: asks less of it than of the others: TLS, access log, headers of its own.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { start } from "../processes.ts";
import { freePort, type Ground, isListening, type Rival, versionOf, waitUntil } from "./rival.ts";

export const haproxy: Rival = {
  name: "haproxy",
  needs: { program: "haproxy", debianPackage: "haproxy" },
  speaksH2: true,
  async start(ground) {
    const httpsPort = await freePort();
    const logFile = join(ground.folder, "access.log");
    const file = join(ground.folder, "haproxy.cfg");
    writeFileSync(file, configuration(ground, httpsPort));
    const process = start(["haproxy", "-db", "-f", file], {
      core: ground.core,
      stdoutFile: logFile,
      stderrFile: join(ground.folder, "error.log"),
    });
    await waitUntil("haproxy", process, () => isListening(httpsPort));
    return {
      name: "haproxy",
      version: await versionOf("haproxy", ["-v"]),
      pid: process.pid,
      httpsPort,
      logFile,
      stop: process.stop,
    };
  },
};

function configuration({ certificate, targetPort, workers }: Ground, port: number): string {
  // HAProxy prefers its own order of suites; this is the order of the others, so that all encrypt alike.
  return `global
  nbthread ${workers}
  maxconn 9000
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256
  tune.ssl.cachesize 20000
  tune.ssl.lifetime 86400
defaults
  mode http
  log global
  option httplog
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-request 10s
  timeout http-keep-alive 300s
  timeout tunnel 1h
frontend edge
  bind 127.0.0.1:${port} ssl crt ${certificate.bothFile} alpn h2,http/1.1
  capture request header User-Agent len 200
  option forwardfor
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  default_backend target
backend target
  server target 127.0.0.1:${targetPort}
`;
}
