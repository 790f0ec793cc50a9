/**
 * A home, a CA (Debian's pebble) and a front before it that changes its answers, for all tests of a describe.
 */
import { after, afterEach, before } from "node:test";
import { type Home, makeHome, noSignal } from "./acme-home.ts";
import { type FaultProxy, startFaultProxy } from "./fault-proxy.ts";
import { type Pebble, startPebble } from "./pebble.ts";

interface Parts {
  home: Home;
  pebble: Pebble;
  proxy: FaultProxy;
}

/**
 * Made before the first test, with an account; between two tests the front is honest again, the home forgets what it
 * keeps in memory, and all its limits.
 *
 * @param made  takes the parts
 */
export function withFaultyCa(made: (parts: Parts) => void): void {
  const ends: (() => Promise<void>)[] = [];
  let between = async (): Promise<void> => {};
  before(async () => {
    const home = await makeHome();
    ends.unshift(() => home.stop());
    const pebble = await startPebble(undefined, { httpPort: home.httpPort });
    ends.unshift(() => pebble.stop());
    const proxy = await startFaultProxy(pebble);
    ends.unshift(() => proxy.stop());
    await home.issuer(proxy).issue("account.example.org", "first", noSignal());
    between = async () => {
      proxy.clear();
      await home.reborn();
      await home.forgetLedgers();
    };
    made({ home, pebble, proxy });
  });
  after(async () => {
    for (const end of ends) await end();
  });
  afterEach(() => between());
}
