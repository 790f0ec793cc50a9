/**
 * A bare http-proxy server on the same Node.
 * Owns: its process; the program is http-proxy-server.ts.
 * Never: HTTP/2, which http-proxy cannot.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { start } from "../processes.ts";
import { freePort, isListening, type Rival, waitUntil } from "./rival.ts";

const SERVER = join(import.meta.dirname, "http-proxy-server.ts");
const MANIFEST = join(import.meta.dirname, "../../node_modules/http-proxy/package.json");

export const bareHttpProxy: Rival = {
  name: "http-proxy",
  speaksH2: false,
  async start({ folder, certificate, targetPort, core }) {
    const httpsPort = await freePort();
    const logFile = join(folder, "access.log");
    const { keyFile, chainFile } = certificate;
    const words = [String(httpsPort), String(targetPort), keyFile, chainFile, logFile];
    const child = start([process.execPath, "--disable-warning=DEP0060", SERVER, ...words], {
      core,
      stderrFile: join(folder, "error.log"),
    });
    await waitUntil("http-proxy", child, () => isListening(httpsPort));
    const { version } = JSON.parse(readFileSync(MANIFEST, "utf8")) as { version: string };
    return { name: "http-proxy", version, pid: child.pid, httpsPort, logFile, stop: child.stop };
  },
};
