/**
 * Verbs about forwarded ports.
 * Owns: their names, options and help.
 * Never: does their work.
 */
import { findConfig } from "./find-config.ts";
import { textFlag, type Verbs } from "./verbs.ts";

export function declarePortVerbs(verbs: Verbs): void {
  const { terminal, client } = verbs;
  const forwards = verbs.group({
    name: "forwards",
    about: "Ports that are carried to machines inside as they are: SSH, MQTT, WireGuard, a game.",
    examples: ["gatehouse forwards ls", "gatehouse forwards add --to 172.16.1.2:22"],
  });
  forwards.verb(
    {
      name: "ls",
      about: "List them: port outside, protocol, target, description, sessions, bytes, since when.",
      examples: ["gatehouse forwards ls", "gatehouse forwards ls --json | jq '.forwards[].active'"],
      takes: ["admin", "json"],
    },
    async (flags) => {
      const { listForwards } = await import("./forwards.ts");
      return listForwards(await client(flags), flags.json === true, terminal);
    },
  );
  forwards.verb(
    {
      name: "add",
      about: "Write one into the configuration and open it. Without --port a free one is chosen and told.",
      examples: [
        'gatehouse forwards add --to 172.16.1.2:22 --description "ssh to the build VM" --allow lan',
        "gatehouse forwards add --to 192.168.0.203:51820 --protocol udp --port 51820",
      ],
      takes: ["admin", "json"],
      options: [
        ["--to <target>", "the machine inside and its port"],
        ["--protocol <protocol>", "tcp or udp (default: tcp)"],
        ["--port <port>", "the port outside (default: a free one from 20100 to 20999)"],
        ["--description <text>", "what it is for"],
        ["--allow <who>", "who may connect, with commas between: addresses, networks, lan (default: everybody)"],
      ],
    },
    async (flags) => {
      const { addForward } = await import("./forwards.ts");
      const wanted = {
        to: textFlag(flags, "to"),
        protocol: textFlag(flags, "protocol") ?? "tcp",
        port: textFlag(flags, "port"),
        description: textFlag(flags, "description"),
        allow: textFlag(flags, "allow"),
        json: flags.json === true,
      };
      return addForward(findConfig(flags.config, terminal.env), wanted, () => client(flags), terminal);
    },
  );
  forwards.verb(
    {
      name: "rm <port>",
      about: "Take one out of the configuration and close it; its sessions end.",
      examples: ["gatehouse forwards rm tcp/20170", "gatehouse forwards rm 20170"],
      takes: ["admin", "json"],
    },
    async (flags, [port = ""]) => {
      const { removeForward } = await import("./forwards.ts");
      return removeForward(findConfig(flags.config, terminal.env), port, flags, () => client(flags), terminal);
    },
  );
}
