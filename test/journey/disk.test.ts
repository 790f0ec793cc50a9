/**
 * What becomes of the whole program when its disk is full, read-only, somebody else's, or holds what does not fit
 * together? What served goes on serving, the trouble is named, and nothing is ordered that could not be kept.
 */
import assert from "node:assert/strict";
import { chmod, copyFile, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { configText, type RunningGatehouse, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needsPebble, startPebble } from "../support/pebble.ts";
import { hasProgram, runProgram } from "../support/programs.ts";
import { freePort } from "../support/target.ts";
import { certificateShown } from "../support/tls-client.ts";

const HOME = "home.example.org";
const NAS = "nas.example.org";

/** A private mount namespace gives a disk of its own without touching the machine's mounts. */
const canMount =
  hasProgram("unshare") && (await runProgram("unshare", ["-rm", "true"], { withinMs: 10_000 })).code === 0;
const needsMount = !canMount && "needs unshare(1) with user namespaces (Debian: util-linux)";

const servedSerial = async (port: number, servername: string): Promise<string> =>
  (await certificateShown({ port, servername })).serialNumber;

async function withPebble(t: TestContext) {
  const folder = await temporaryFolder(t);
  const httpPort = await freePort();
  const pebble = await startPebble(t, { httpPort });
  await writeFile(join(folder, "ca.pem"), pebble.caPem);
  const config = configText(
    folder,
    `acme: { ca: "${pebble.directoryUrl}", caRoots: "file:${join(folder, "ca.pem")}" }
sites: { ${HOME}: demo }
`,
  ).replace('http: "127.0.0.1:0"', `http: "127.0.0.1:${httpPort}"`);
  return { folder, pebble, config, state: join(folder, "state") };
}

const issued = (gatehouse: RunningGatehouse, name = HOME) =>
  gatehouse.line("certificate.issued", (line) => line["name"] === name, 60_000);

test(
  "a full disk: the old certificate serves, nothing is ordered, the remedy is told, and space is all that is needed",
  { skip: needsPebble || needsMount },
  async (t) => {
    const { folder, pebble, config, state } = await withPebble(t);
    const tiny = ["-rm", "sh", "-c", 'mkdir -p "$0" && mount -t tmpfs -o size=400k tmpfs "$0" && exec "$@"', state];
    const gatehouse = await startGatehouse(t, { folder, config, inside: ["unshare", ...tiny] });
    await issued(gatehouse);
    const serial = await servedSerial(gatehouse.httpsPort, HOME);
    const orders = pebble.orders();
    const filling = `/proc/${gatehouse.pid}/root${state}/filling`;
    await assert.rejects(writeFile(filling, Buffer.alloc(500_000)), { code: "ENOSPC" });

    const failed = await gatehouse.cli("renew", HOME);
    assert.notEqual(failed.code, 0);
    assert.match(failed.stderr, /the disk is full \(ENOSPC\)/);
    assert.match(failed.stderr, /Free some space/);
    assert.equal(pebble.orders(), orders, "an order was spent that could not have been kept");
    assert.equal(await servedSerial(gatehouse.httpsPort, HOME), serial);

    await rm(filling);
    const renewed = await gatehouse.cli("renew", HOME);
    assert.equal(renewed.code, 0, renewed.stderr);
    assert.notEqual(await servedSerial(gatehouse.httpsPort, HOME), serial);
    assert.equal(pebble.orders(), orders + 1);
    assert.equal(await gatehouse.stop(), 0);
  },
);

test(
  "a read-only disk: a restart serves what is there, and an order is refused before the CA hears of it",
  { skip: needsPebble || needsMount },
  async (t) => {
    const { folder, pebble, config, state } = await withPebble(t);
    const first = await startGatehouse(t, { folder, config });
    await issued(first);
    const serial = await servedSerial(first.httpsPort, HOME);
    assert.equal(await first.stop(), 0);
    const orders = pebble.orders();

    const script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
    const second = await startGatehouse(t, { folder, config, inside: ["unshare", "-rm", "sh", "-c", script, state] });
    assert.equal(await servedSerial(second.httpsPort, HOME), serial);
    const failed = await second.cli("renew", HOME);
    assert.notEqual(failed.code, 0);
    assert.match(failed.stderr, /read-only \(EROFS\)/);
    assert.match(failed.stderr, /Mount it writable/);
    assert.equal(pebble.orders(), orders);
    assert.equal(await servedSerial(second.httpsPort, HOME), serial);
    assert.equal(await second.stop(), 0);
  },
);

const MAIN = new URL("../../src/cli/main.ts", import.meta.url).pathname;
const AS_NOBODY = [
  "--reuid=65534",
  "--regid=65534",
  "--clear-groups",
  process.execPath,
  "--disable-warning=DEP0060",
  MAIN,
];

/** Root can be somebody else; whether that one may read this checkout is another matter. */
async function whyNobodyCannotRun(): Promise<string | false> {
  if (process.getuid?.() !== 0) return "needs root, to be somebody else";
  if (!hasProgram("setpriv")) return "needs util-linux";
  const { code } = await runProgram("setpriv", [...AS_NOBODY, "version"], { withinMs: 60_000 });
  return code !== 0 && "needs a checkout and a Node that every user may read";
}

test(
  "a state folder of another user: the start ends with the path, the cause and the command that mends it",
  { skip: await whyNobodyCannotRun() },
  async (t) => {
    const folder = await temporaryFolder(t);
    await chmod(folder, 0o777);
    const config = configText(folder, `sites: { ${HOME}: demo }\n`);
    const mine = await startGatehouse(t, { folder, config });
    await issued(mine);
    assert.equal(await mine.stop(), 0);
    await rm(join(folder, "a.sock"), { force: true });
    const run = [...AS_NOBODY, "run", "--config", mine.configFile];
    const { code, stdout, stderr } = await runProgram("setpriv", run, { withinMs: 60_000 });
    assert.notEqual(code, 0);
    const said = `${stdout}${stderr}`;
    assert.match(said, /EACCES/);
    assert.match(said, new RegExp(`chown -R .*${join(folder, "state")}`));
    // And whoever owns it goes on as before.
    const again = await startGatehouse(t, { folder, config });
    assert.equal(
      again.lines.some(({ event }) => event === "certificate.issued"),
      false,
    );
    assert.equal(await again.stop(), 0);
  },
);

/** The newest generation is damaged while nobody runs. */
const damages: [what: string, damage: (generation: string, ofNas: string) => Promise<void>, says: RegExp][] = [
  ["the chain is cut short", (mine) => truncate(join(mine, "chain.pem"), 300), /chain/],
  ["the key is another certificate's", (mine, nas) => copyFile(join(nas, "key.pem"), join(mine, "key.pem")), /key/],
  [
    "key and chain are those of another name",
    async (mine, nas) => {
      for (const file of ["key.pem", "chain.pem", "meta.json"]) await copyFile(join(nas, file), join(mine, file));
    },
    /nas\.example\.org|name/,
  ],
  ["the chain is empty", (mine) => truncate(join(mine, "chain.pem"), 0), /./],
];

test("after a crash that left damage the generation before it serves, and each damage is named: it is cut short, torn, of another name or key", async (t) => {
  const folder = await temporaryFolder(t);
  const sites = damages.map((_, at) => `d${at}.example.org`);
  const config = configText(folder, `sites: { ${[NAS, ...sites].map((name) => `${name}: demo`).join(", ")} }\n`);
  const first = await startGatehouse(t, { folder, config });
  await Promise.all([NAS, ...sites].map((name) => issued(first, name)));
  const older = new Map<string, string>();
  for (const name of sites) older.set(name, await servedSerial(first.httpsPort, name));
  assert.equal((await first.cli("renew", ...sites)).code, 0);
  for (const name of sites) assert.notEqual(await servedSerial(first.httpsPort, name), older.get(name));
  assert.equal(await first.stop(), 0);

  const current = async (name: string): Promise<string> => {
    const place = join(folder, "state", "certs", name);
    return join(place, (await readFile(join(place, "current"), "utf8")).trim());
  };
  for (const [at, [, damage]] of damages.entries()) await damage(await current(sites[at] ?? ""), await current(NAS));

  const second = await startGatehouse(t, { folder, config });
  for (const [at, [what, , says]] of damages.entries()) {
    const name = sites[at] ?? "";
    const line = await second.line("certificate.damaged", (one) => one["name"] === name);
    assert.match(String(line["reason"]), says, what);
    assert.equal(await servedSerial(second.httpsPort, name), older.get(name), what);
  }
  assert.equal(await second.stop(), 0);
});
