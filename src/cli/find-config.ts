/**
 * Which file is meant, and where does the Gatehouse that runs with it listen for questions?
 * Owns: flag > environment > ./config/gatehouse.yaml > /etc/gatehouse/gatehouse.yaml, and the same for the socket.
 * Never: judges the file.
 */
import { existsSync } from "node:fs";
import { GatehouseError } from "../core/errors.ts";

const IN_CHECKOUT = "config/gatehouse.yaml";
const INSTALLED = "/etc/gatehouse/gatehouse.yaml";

const given = (text: string | undefined): string | undefined => (text === "" ? undefined : text);

/** @throws GATEHOUSE_CONFIG_UNREADABLE when none was named and none is where one is looked for */
export function findConfig(flag: string | undefined, env: NodeJS.ProcessEnv): string {
  const named = given(flag) ?? given(env["GATEHOUSE_CONFIG"]);
  if (named !== undefined) return named;
  const found = [IN_CHECKOUT, INSTALLED].find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new GatehouseError("GATEHOUSE_CONFIG_UNREADABLE", {
    message: `There is no configuration: neither ${IN_CHECKOUT} here nor ${INSTALLED}.`,
    hint: "Name yours with --config FILE or GATEHOUSE_CONFIG.",
  });
}

/** @throws GATEHOUSE_CONFIG_UNREADABLE */
export async function findAdminSocket(
  flags: { admin?: string | undefined; config?: string | undefined },
  env: NodeJS.ProcessEnv,
): Promise<string> {
  const named = given(flags.admin) ?? given(env["GATEHOUSE_ADMIN"]);
  if (named !== undefined) return named;
  // The schema and its library take 200 ms to load, which a health check every 30 s can spare itself by naming the path.
  const { readAdminSocket } = await import("./admin-socket.ts");
  return readAdminSocket(findConfig(flags.config, env));
}
