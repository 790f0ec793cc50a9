/**
 * A program on the target host: the small Home Assistant of test/support at port 8123, as a machine of its own.
 * Owns: its settings, which arrive as messages; its log on standard output.
 * Never: decides anything itself.
 */
import { createHomeAssistant, type HttpSettings } from "../support/home-assistant.ts";

let settings: HttpSettings = { use_x_forwarded_for: false, trusted_proxies: [] };
process.on("message", (message: HttpSettings) => {
  settings = message;
  process.send?.("taken");
});
process.on("disconnect", () => process.exit());

const server = createHomeAssistant(
  () => settings,
  (line) => process.stdout.write(`ERROR (MainThread) [homeassistant.components.http.forwarded] ${line}\n`),
);
// As the real one listens: on both families, each by a socket of its own.
server.listen(8123, "0.0.0.0", () => process.stdout.write("ready\n"));
