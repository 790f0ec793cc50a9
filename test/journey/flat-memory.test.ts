/**
 * Bodies of any size go through in flat memory, and events go through at once.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import { configText, startGatehouse, temporaryFolder, type RunningGatehouse } from "../support/gatehouse.ts";
import { needs, runProgram } from "../support/programs.ts";
import { countBytes, sendBytes, startTarget } from "../support/target.ts";

const GIGABYTE = 1_000_000_000;
const ALLOWED_GROWTH = 60_000_000;

/** The largest growth of resident memory while `work` runs, looked at twice a second. */
async function growth(gatehouse: RunningGatehouse, work: () => Promise<void>): Promise<number> {
  const before = await gatehouse.rss();
  let peak = before;
  const timer = setInterval(() => void gatehouse.rss().then((now) => (peak = Math.max(peak, now))), 500);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return Math.max(peak, await gatehouse.rss()) - before;
}

for (const flag of ["--http1.1", "--http2"]) {
  test(
    `a 1 GB download and a 1 GB upload over ${flag} hold memory growth under 60 MB`,
    { skip: needs("curl") },
    async (t) => {
      const folder = await temporaryFolder(t);
      const target = await startTarget(t, (req, res) => {
        if (req.method === "POST") void countBytes(req).then((total) => res.end(String(total)));
        else sendBytes(res, Number(new URL(req.url ?? "/", "http://x").searchParams.get("size")));
      });
      const gatehouse = await startGatehouse(t, {
        folder,
        config: configText(folder, `sites: { home.localhost: "127.0.0.1:${target.port}" }`),
      });
      await gatehouse.line("certificate.issued");
      const url = `https://home.localhost:${gatehouse.httpsPort}/`;
      const curl = (args: string[]) =>
        runProgram("curl", ["-sS", flag, "--cacert", join(folder, "state/ca/local/root.pem"), ...args], {
          withinMs: 120_000,
        });
      const download = async (size: number) => {
        const { stdout, stderr } = await curl(["-o", "/dev/null", "-w", "%{size_download}", `${url}?size=${size}`]);
        assert.equal(stdout, String(size), stderr);
      };
      const upload = async (size: number) => {
        const { stdout, stderr } = await runProgram(
          "sh",
          [
            "-c",
            `head -c ${size} /dev/zero | curl -sS ${flag} --cacert "$0" -T - -X POST -H 'Expect:' "$1"`,
            join(folder, "state/ca/local/root.pem"),
            url,
          ],
          { withinMs: 120_000 },
        );
        assert.equal(stdout, String(size), stderr);
      };
      await download(50_000_000);
      await upload(50_000_000);
      const down = await growth(gatehouse, () => download(GIGABYTE));
      const up = await growth(gatehouse, () => upload(GIGABYTE));
      t.diagnostic(`growth: download ${Math.round(down / 1e6)} MB, upload ${Math.round(up / 1e6)} MB`);
      assert.ok(down < ALLOWED_GROWTH, `download grew ${down}`);
      assert.ok(up < ALLOWED_GROWTH, `upload grew ${up}`);
    },
  );
}

test("a server-sent event arrives within 50 ms of being sent", async (t) => {
  const folder = await temporaryFolder(t);
  let sentAt = 0;
  let send: (() => void) | undefined;
  const target = await startTarget(t, (_, res) => {
    res.writeHead(200, { "content-type": "text/event-stream" });
    res.flushHeaders();
    send = () => {
      sentAt = performance.now();
      res.write("data: tick\n\n");
    };
  });
  const gatehouse = await startGatehouse(t, {
    folder,
    config: configText(folder, `sites: { home.localhost: "127.0.0.1:${target.port}" }`),
  });
  await gatehouse.line("certificate.issued");
  const req = request({
    port: gatehouse.httpsPort,
    host: "127.0.0.1",
    servername: "home.localhost",
    headers: { host: "home.localhost" },
    ca: await readFile(join(folder, "state/ca/local/root.pem")),
  });
  req.end();
  const [res] = (await once(req, "response")) as [IncomingMessage];
  const tookMs: number[] = [];
  for (let round = 0; round < 20; round++) {
    send?.();
    await once(res, "data");
    tookMs.push(performance.now() - sentAt);
  }
  req.destroy();
  tookMs.sort((a, b) => a - b);
  // The median, so that one pause of a busy machine is not taken for buffering (which would hold every event back).
  assert.ok((tookMs[10] ?? Infinity) < 50, `median ${tookMs[10]} ms, slowest ${tookMs.at(-1)} ms`);
});
