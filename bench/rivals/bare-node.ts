/**
 * Node's own floor: a TLS server that passes every byte on, unread.
 * Owns: its process; the program is bare-node-server.ts.
 * Never: competes. It does no proxy's work, and says how much of a figure is the platform's.
 */
import { join } from "node:path";
import { start } from "../processes.ts";
import { freePort, isListening, type Rival, waitUntil } from "./rival.ts";

const SERVER = join(import.meta.dirname, "bare-node-server.ts");

export const bareNode: Rival = {
  name: "bare-node",
  speaksH2: false,
  async start({ folder, certificate, targetPort, core }) {
    const httpsPort = await freePort();
    // Nothing is ever written there.
    const logFile = join(folder, "access.log");
    const words = [String(httpsPort), String(targetPort), certificate.keyFile, certificate.chainFile];
    const child = start([process.execPath, SERVER, ...words], {
      core,
      stdoutFile: logFile,
      stderrFile: join(folder, "error.log"),
    });
    await waitUntil("bare-node", child, () => isListening(httpsPort));
    return { name: "bare-node", version: process.versions.node, pid: child.pid, httpsPort, logFile, stop: child.stop };
  },
};
