/**
 * Where does the Gatehouse that runs with this file listen for questions?
 * Owns: reading that one answer out of a file that may be wrong everywhere else.
 * Never: judges the file, or opens a secret.
 */
import { readDocument } from "../config/text/document.ts";
import { judge } from "../config/judge.ts";
import { readSmallFile } from "../config/text/read-file.ts";
import { resolveConfig } from "../config/resolve.ts";
import { createResolver } from "../config/values/secrets.ts";
import { errorText, GatehouseError } from "../core/errors.ts";

/**
 * A file with mistakes in it, or with secrets of another user or another environment, is exactly when somebody asks a
 * running Gatehouse how it is; `loadConfig` would refuse it.
 *
 * @throws GATEHOUSE_CONFIG_UNREADABLE
 */
export async function readAdminSocket(file: string): Promise<string> {
  const text = await readSmallFile(file).catch((cause: unknown) => {
    throw new GatehouseError("GATEHOUSE_CONFIG_UNREADABLE", {
      message: `${file} cannot be read: ${errorText(cause)}`,
      hint: "It says where the admin socket is. Name another file with --config FILE, or the socket with --admin PATH.",
      cause,
    });
  });
  const noSecrets = createResolver(file, { env: {}, readFile: () => Promise.reject(new Error("not needed")) });
  const { config } = await resolveConfig(
    file,
    judge(readDocument(text).value),
    noSecrets,
    () => {},
    () => true,
  );
  return config.admin;
}
