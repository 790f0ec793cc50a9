/**
 * A certificate for a telephone, from the command to curl and Chromium, with one process and with workers.
 */
import assert from "node:assert/strict";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { configText, startGatehouse, temporaryFolder, type CliResult } from "../support/gatehouse.ts";
import { hasProgram, needs, runProgram } from "../support/programs.ts";
import { startTarget } from "../support/target.ts";

const NAME = "home.localhost";
const json = ({ stdout }: CliResult) => JSON.parse(stdout) as Record<string, unknown>;

for (const workers of [1, 2]) {
  test(
    `with ${workers} process(es): client-cert add makes a file that curl comes in with, and revoke ends that`,
    { skip: needs("curl") },
    async (t) => {
      const folder = await temporaryFolder(t);
      const target = await startTarget(t, (request, response) =>
        response.end(String(request.headers["x-forwarded-client-cert"])),
      );
      const gatehouse = await startGatehouse(t, {
        folder,
        config: configText(
          folder,
          `workers: ${workers}\nsites: { ${NAME}: { to: "127.0.0.1:${target.port}", clientCert: required } }\n`,
        ),
      });
      await gatehouse.line("certificate.issued");
      const file = join(folder, "anna.p12");
      const added = await gatehouse.cli("client-cert", "add", "Anna phone", "--out", file, "--json");
      assert.equal(added.code, 0, added.stderr);
      const { password, state, sha256 } = json(added);
      assert.match(String(password), /^(?:[a-z2-9]{5}-){3}[a-z2-9]{5}$/);
      assert.equal(state, "accepted");
      assert.equal((await stat(file)).mode & 0o777, 0o600);

      const root = [
        "--cacert",
        join(folder, "state/ca/local/root.pem"),
        "--resolve",
        `${NAME}:${gatehouse.httpsPort}:127.0.0.1`,
      ];
      const visit = async (...args: string[]) => {
        const url = `https://${NAME}:${gatehouse.httpsPort}/`;
        const { stdout, stderr } = await runProgram("curl", ["-sS", ...root, "-w", "\n%{http_code}", ...args, url]);
        return stdout.split("\n").slice(-2).join(" ") || stderr;
      };
      const own = ["--cert-type", "P12", "--cert", `${file}:${String(password)}`];
      const welcome = `Hash=${String(sha256)};Subject="CN=Anna phone" 200`;
      // With workers the list is on its way to all of them for a moment.
      await settled(async () => (await visit(...own)) === welcome);
      await settled(async () => (await visit(...own, "--http1.1", "--tls-max", "1.2")) === welcome);
      assert.match(await visit(), / 403$/);

      const listed = json(await gatehouse.cli("client-cert", "ls", "--json"))["clientCertificates"] as {
        name: string;
      }[];
      assert.deepEqual(
        listed.map(({ name }) => name),
        ["Anna phone"],
      );
      assert.equal((await gatehouse.cli("client-cert", "revoke", "Anna phone")).code, 0);
      await settled(async () => (await visit(...own)).endsWith(" 403"));
      const again = await gatehouse.cli("client-cert", "revoke", "Anna phone");
      assert.equal(again.code, 1, again.stdout);
      assert.match(again.stderr, /No client certificate in force is named Anna phone/);
      const logged = gatehouse.lines.map((line) => JSON.stringify(line)).join("\n");
      assert.ok(!logged.includes(String(password)), "a password has reached the log");
      assert.equal(await gatehouse.stop(), 0);
    },
  );
}

async function settled(holds: () => Promise<boolean>): Promise<void> {
  const until = performance.now() + 30_000;
  while (!(await holds())) assert.ok(performance.now() < until, "the list did not arrive");
}

/** Policies lie in /etc, and the profile alone cannot choose a certificate without a person: so Chromium gets an /etc/chromium of its own. */
const needsPolicies =
  needs("chromium") ||
  needs("pk12util", "libnss3-tools") ||
  (process.getuid?.() !== 0 ? "needs root, to mount" : hasProgram("unshare") ? false : "needs util-linux");

test(
  "Chromium comes in with the file in its store, and without it reads why not",
  { skip: needsPolicies, timeout: 180_000 },
  async (t) => {
    const folder = await temporaryFolder(t);
    const target = await startTarget(t, (request, response) =>
      response.end(`welcome ${String(request.headers["x-forwarded-client-cert"])}`),
    );
    const gatehouse = await startGatehouse(t, {
      folder,
      config: configText(folder, `sites: { ${NAME}: { to: "127.0.0.1:${target.port}", clientCert: required } }\n`),
    });
    await gatehouse.line("certificate.issued");
    const origin = `https://${NAME}:${gatehouse.httpsPort}`;
    const [file, password] = [join(folder, "anna.p12"), join(folder, "password")];
    await writeFile(password, "geheim\n");
    const added = await gatehouse.cli("client-cert", "add", "anna", "--out", file, "--password-file", password);
    assert.equal(added.code, 0, added.stderr);
    await mkdir(join(folder, "etc/policies/managed"), { recursive: true });
    const policy = { AutoSelectCertificateForUrls: [JSON.stringify({ pattern: origin, filter: {} })] };
    await writeFile(join(folder, "etc/policies/managed/policy.json"), JSON.stringify(policy));

    const visit = async (hasCertificate: boolean): Promise<string> => {
      const home = join(folder, hasCertificate ? "with" : "without");
      const store = join(home, ".pki/nssdb");
      await mkdir(store, { recursive: true });
      const nss = async (program: string, ...args: string[]) =>
        assert.equal(
          (await runProgram(program, [...args, "-d", `sql:${store}`])).code,
          0,
          `${program} ${args.join(" ")}`,
        );
      await nss("certutil", "-N", "--empty-password");
      await nss("certutil", "-A", "-n", "root", "-t", "C,,", "-i", join(folder, "state/ca/local/root.pem"));
      if (hasCertificate) await nss("pk12util", "-i", file, "-W", "geheim");
      const flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
      ];
      const browser = ["chromium", ...flags, `--user-data-dir=${home}/profile`, "--dump-dom", `${origin}/`];
      const script = `mount --bind "$0" /etc/chromium && exec "$@"`;
      const args = ["--mount", "sh", "-c", script, join(folder, "etc"), ...browser];
      return (await runProgram("unshare", args, { env: { ...process.env, HOME: home }, withinMs: 80_000 })).stdout;
    };
    assert.match(await visit(true), /welcome Hash=[0-9a-f]{64};Subject="CN=anna"/);
    assert.match(await visit(false), /This device has shown none that is accepted/);
  },
);
