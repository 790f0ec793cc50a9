/**
 * From an empty folder to an answer over HTTPS, with the embedded CA.
 */
import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { connect } from "node:tls";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { runProgram } from "../support/programs.ts";
import { startTarget } from "../support/target.ts";

test("an empty folder and one site give an HTTPS answer over h2 and h1 that curl trusts", async (t) => {
  const folder = await temporaryFolder(t);
  const gatehouse = await startGatehouse(t, { folder, config: configText(folder, "sites: { home.localhost: demo }") });
  const issued = await gatehouse.line("certificate.issued");
  assert.equal(issued["name"], "home.localhost");
  const root = join(folder, "state", "ca", "local", "root.pem");
  const url = `https://home.localhost:${gatehouse.httpsPort}/`;
  for (const [flag, version] of [
    ["--http2", "2"],
    ["--http1.1", "1.1"],
  ] as const) {
    const { stdout, stderr, code } = await runProgram("curl", [
      "-sS",
      flag,
      "--cacert",
      root,
      "-o",
      "/dev/null",
      "-w",
      "%{http_code} %{http_version} %{ssl_verify_result}",
      url,
    ]);
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `200 ${version} 0`);
  }
  assert.equal((await stat(join(folder, "state"))).mode & 0o777, 0o700);

  const redirected = async (host: string) => {
    const { stdout } = await runProgram("curl", [
      "-sS",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code} %{redirect_url}",
      "-H",
      `Host: ${host}`,
      `http://127.0.0.1:${gatehouse.httpPort}/a?b=c`,
    ]);
    return stdout;
  };
  // Without a port the client came through a router's 80, so 443 is there, too; with one it stands before us.
  assert.equal(await redirected("home.localhost"), "308 https://home.localhost/a?b=c");
  assert.equal(
    await redirected(`home.localhost:${gatehouse.httpPort}`),
    `308 https://home.localhost:${gatehouse.httpsPort}/a?b=c`,
  );
  assert.match(await redirected("other.localhost"), /^404/);

  const unknown = await runProgram("curl", [
    "-sS",
    "-k",
    "--resolve",
    `other.localhost:${gatehouse.httpsPort}:127.0.0.1`,
    `https://other.localhost:${gatehouse.httpsPort}/`,
  ]);
  assert.notEqual(unknown.code, 0);
  assert.doesNotMatch(unknown.stderr, /home\.localhost/);

  const ls = await gatehouse.cli("ls", "--json");
  assert.equal(ls.code, 0, ls.stderr);
  assert.match(ls.stdout, /home\.localhost/);
  assert.equal((await gatehouse.cli("health")).code, 0);
  assert.equal(await gatehouse.stop(), 0);
});

test("a second start uses the certificate it finds", async (t) => {
  const folder = await temporaryFolder(t);
  const config = configText(folder, "sites: { home.localhost: demo }");
  const first = await startGatehouse(t, { folder, config });
  await first.line("certificate.issued");
  await first.stop();
  const second = await startGatehouse(t, { folder, config });
  const serial = (file: string) => readFile(file, "utf8");
  const current = await serial(join(folder, "state", "certs", "home.localhost", "current"));
  const { stdout } = await runProgram("curl", [
    "-sS",
    "--cacert",
    join(folder, "state/ca/local/root.pem"),
    "-o",
    "/dev/null",
    "-w",
    "%{http_code}",
    `https://home.localhost:${second.httpsPort}/`,
  ]);
  assert.equal(stdout, "200");
  assert.equal(await serial(join(folder, "state", "certs", "home.localhost", "current")), current);
  assert.equal(
    second.lines.some((line) => line.event === "certificate.issued"),
    false,
  );
});

test("a changed file adds a site, a bad file is refused with its place and the old one keeps serving", async (t) => {
  const folder = await temporaryFolder(t);
  const target = await startTarget(t, (_, res) => res.end("inside"));
  const before = configText(folder, "sites: { home.localhost: demo }");
  const gatehouse = await startGatehouse(t, { folder, config: before });
  await gatehouse.line("certificate.issued");
  await writeFile(
    gatehouse.configFile,
    configText(folder, `sites:\n  home.localhost: demo\n  nas.localhost: 127.0.0.1:${target.port}\n`),
  );
  await gatehouse.line("certificate.issued", (line) => line["name"] === "nas.localhost");
  const root = join(folder, "state/ca/local/root.pem");
  const ask = async (name: string) =>
    (await runProgram("curl", ["-sS", "--cacert", root, `https://${name}:${gatehouse.httpsPort}/`])).stdout;
  assert.equal(await ask("nas.localhost"), "inside");

  await writeFile(
    gatehouse.configFile,
    configText(folder, `sites:\n  nas.localhost: 127.0.0.1:${target.port}\nsittes: {}\n`),
  );
  const failed = await gatehouse.line("config.reload_failed");
  assert.match(JSON.stringify(failed), /gatehouse\.yaml:8:1.*did you mean.*sites/);
  assert.equal(await ask("nas.localhost"), "inside");
});

test("one broken site is left out with its reason and the others serve", async (t) => {
  const folder = await temporaryFolder(t);
  const gatehouse = await startGatehouse(t, {
    folder,
    config: configText(folder, "sites:\n  home.localhost: demo\n  bad_name.localhost: 127.0.0.1:1\n"),
  });
  const left = await gatehouse.line("site.quarantined");
  assert.match(JSON.stringify(left), /gatehouse\.yaml:8:3.*bad_name/);
  await gatehouse.line("certificate.issued");
  const { stdout } = await runProgram("curl", [
    "-sS",
    "--cacert",
    join(folder, "state/ca/local/root.pem"),
    "-o",
    "/dev/null",
    "-w",
    "%{http_code}",
    `https://home.localhost:${gatehouse.httpsPort}/`,
  ]);
  assert.equal(stdout, "200");
});

test("until a name has a certificate its handshake is refused and the log says so", async (t) => {
  const folder = await temporaryFolder(t);
  const gatehouse = await startGatehouse(t, {
    folder,
    // Port 9 on loopback: nothing answers there, so the CA stays out of reach.
    config: configText(folder, 'acme: { ca: "https://127.0.0.1:9/dir" }\nsites: { home.example.org: demo }\n'),
  });
  const socket = connect({
    port: gatehouse.httpsPort,
    host: "127.0.0.1",
    servername: "home.example.org",
    rejectUnauthorized: false,
  });
  const outcome = await new Promise<string>((resolve) => {
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on("secureConnect", () => resolve("connected"));
  });
  socket.destroy();
  assert.notEqual(outcome, "connected");
  const pending = await gatehouse.line("tls.certificate_pending");
  assert.equal(pending["name"], "home.example.org");
  await gatehouse.line("certificate.failed", (line) => line["name"] === "home.example.org");
});

test("a port that is taken is named, with who to ask", async (t) => {
  const folder = await temporaryFolder(t);
  const { port } = await startTarget(t, (_, res) => res.end());
  await assert.rejects(
    startGatehouse(t, {
      folder,
      config: configText(folder, "sites: { home.localhost: demo }").replace(
        'http: "127.0.0.1:0"',
        `http: "127.0.0.1:${port}"`,
      ),
    }),
    new RegExp(`(${port}).*(in use)|(in use).*(${port})`, "s"),
  );
});
