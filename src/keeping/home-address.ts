/**
 * Who remembers which address this machine had at home?
 * Owns: the companion that looks every few minutes and writes a new one down, for the doctor and the log.
 * Never: changes anything because of it.
 */
import type { Config } from "../config/model.ts";
import { systemClock } from "../core/time.ts";
import { errorText } from "../core/errors.ts";
import { findGateway } from "../network/gateway.ts";
import { HOME_ADDRESS_KEY, movedTo, readHomeAddress } from "../network/home-address.ts";
import type { Logger } from "../observe/log.ts";
import { createFileStorage } from "../storage/files.ts";
import type { Companion } from "./companion.ts";

/** A lease lives for hours; the doctor compares by itself, too. */
const LOOK_EVERY_MS = 300_000;

export function createHomeAddressKeeping(log: Logger): Companion {
  let timer: NodeJS.Timeout | undefined;
  let state: string | undefined;

  async function look(folder: string): Promise<void> {
    const home = await findGateway();
    if (home === undefined) return;
    const storage = await createFileStorage(folder, { leftovers: "leave" });
    const known = readHomeAddress(await storage.read(HOME_ADDRESS_KEY));
    const next = movedTo(known, home.ownAddress, systemClock.now());
    if (next === known) return;
    await storage.write(HOME_ADDRESS_KEY, `${JSON.stringify(next)}\n`);
    if (known === undefined) return;
    const words = "this machine has another address at home; forwards by hand still lead to the last one";
    log.warn({ event: "home.address_changed", address: next.address, last: known.address }, words);
  }

  return {
    name: "home address",
    async apply(config: Config) {
      if (state === config.state) return;
      state = config.state;
      clearInterval(timer);
      const folder = state;
      timer = setInterval(() => {
        look(folder).catch((error: unknown) => {
          log.warn({ event: "home.address_unkept", reason: errorText(error) }, "the address at home was not kept");
        });
      }, LOOK_EVERY_MS).unref();
      await look(folder);
    },
    stop: () => clearInterval(timer),
  };
}
