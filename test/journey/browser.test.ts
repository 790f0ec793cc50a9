/**
 * The sample page in the programs people use: Chromium, curl, nghttp, h2load.
 */
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { configText, startGatehouse, temporaryFolder } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";

test(
  "Chromium loads the sample page over HTTPS and its WebSocket echoes",
  { skip: needs("chromium"), timeout: 90_000 },
  async (t) => {
    const folder = await temporaryFolder(t);
    const gatehouse = await startGatehouse(t, {
      folder,
      config: configText(folder, "sites: { home.localhost: demo }"),
    });
    await gatehouse.line("certificate.issued");
    // Chromium has no flag for one more root; this one accepts exactly our root's key and nothing else.
    const root = new X509Certificate(await readFile(join(folder, "state/ca/local/root.pem")));
    const chain = await readFile(
      join(
        folder,
        "state",
        "certs",
        "home.localhost",
        (await readFile(join(folder, "state/certs/home.localhost/current"), "utf8")).trim(),
        "chain.pem",
      ),
    );
    const spki = [root, new X509Certificate(chain)].map((certificate) =>
      createHash("sha256")
        .update(certificate.publicKey.export({ type: "spki", format: "der" }))
        .digest("base64"),
    );
    const browser = await chromium.launch({
      executablePath: "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        `--ignore-certificate-errors-spki-list=${spki.join(",")}`,
      ],
    });
    t.after(() => browser.close());
    const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    const answer = await page.goto(`https://home.localhost:${gatehouse.httpsPort}/`);
    assert.equal(answer?.status(), 200);
    await page.getByRole("status").filter({ hasText: "open" }).waitFor({ timeout: 10_000 });
    await page.getByLabel("Message").fill("hello from the browser");
    await page.getByRole("button", { name: "Send" }).click();
    await page.locator("li", { hasText: "hello from the browser" }).waitFor({ timeout: 10_000 });
    assert.deepEqual(errors, []);
    const shots = process.env["GATEHOUSE_SCREENSHOTS"];
    if (shots !== undefined) {
      await mkdir(shots, { recursive: true });
      await page.screenshot({ path: join(shots, "sample-page.png"), fullPage: true });
    }
    // The page and its WebSocket came over one connection (RFC 8441): Chromium opens a second one only for HTTP/1.1.
    await page.close();
    const socket = await gatehouse.line("access", (line) => line["edge.upgrade"] === true);
    assert.deepEqual(
      [socket["network.protocol.version"], socket["http.response.status_code"], socket["edge.error"]],
      ["2", 200, undefined],
    );
  },
);

test(
  "nghttp and h2load are served over h2, and h2load over h1",
  { skip: needs("nghttp", "nghttp2-client") },
  async (t) => {
    const folder = await temporaryFolder(t);
    const gatehouse = await startGatehouse(t, {
      folder,
      config: configText(folder, "sites: { localhost: demo }"),
    });
    await gatehouse.line("certificate.issued");
    const url = `https://localhost:${gatehouse.httpsPort}/`;
    const nghttp = await runProgram("nghttp", ["-nv", "--no-dep", url]);
    assert.match(nghttp.stdout, /:status: 200/, nghttp.stdout + nghttp.stderr);
    for (const flags of [["-m", "10"], ["--h1"]]) {
      const { stdout } = await runProgram("h2load", [...flags, "-n", "1000", "-c", "10", url]);
      assert.match(stdout, /1000 succeeded, 0 failed, 0 errored, 0 timeout/, stdout);
      assert.match(stdout, /status codes: 1000 2xx/, stdout);
    }
  },
);
