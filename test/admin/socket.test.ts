/**
 * One Gatehouse at a time, and only its user may ask it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, mkdir, readFile, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { createServer, connect } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createAdminClient } from "../../src/admin/client.ts";
import { createAdminServer, type AdminServer } from "../../src/admin/server.ts";
import { GatehouseError, isGatehouseError } from "../../src/core/errors.ts";
import { adminActions } from "../support/admin-actions.ts";
import { temporaryFolder } from "../support/gatehouse.ts";
import { keptLog } from "../support/log-lines.ts";
import { closeOf } from "../support/closing.ts";

function server(t: TestContext, path: string, special: Parameters<typeof adminActions>[0] = {}): AdminServer {
  const made = createAdminServer({ path, actions: adminActions(special), log: keptLog().log });
  t.after(() => made.close());
  return made;
}

const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);

/** A socket whose owner was killed: bound, and nobody accepts. */
async function leaveStale(path: string): Promise<void> {
  const code = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  await once(spawn(process.execPath, ["-e", code], { stdio: "ignore" }), "close");
  assert.ok((await lstat(path)).isSocket());
}

test("the socket is for its user alone, and so is a folder made for it", async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, "new", "admin.sock");
  const before = process.umask(0o022);
  t.after(() => process.umask(before));
  await server(t, path).listen();
  assert.equal(await modeOf(path), "600");
  assert.equal(await modeOf(join(folder, "new")), "700");
  assert.equal(process.umask(0o022), 0o022, "the mask of the process is what it was");
});

test("closing removes the socket, also twice", async (t) => {
  const path = join(await temporaryFolder(t), "admin.sock");
  const one = server(t, path);
  await one.listen();
  await one.close();
  await one.close();
  await assert.rejects(lstat(path), { code: "ENOENT" });
});

test("a second Gatehouse is refused, and the first answers on", async (t) => {
  const path = join(await temporaryFolder(t), "admin.sock");
  await server(t, path).listen();
  await assert.rejects(server(t, path).listen(), (error) => {
    assert.ok(isGatehouseError(error, "GATEHOUSE_ALREADY_RUNNING"));
    assert.match(error.message, /admin\.sock/);
    assert.match(error.hint ?? "", /gatehouse reload/);
    return true;
  });
  assert.equal((await createAdminClient(path).health()).ok, true);
});

test("a socket left behind by a killed process is replaced", async (t) => {
  const path = join(await temporaryFolder(t), "admin.sock");
  await leaveStale(path);
  await server(t, path).listen();
  assert.equal((await createAdminClient(path).health()).ok, true);
  assert.equal(await modeOf(path), "600");
});

test("of ten that start at once over a socket left behind, one wins and nine are told so", async (t) => {
  const folder = await temporaryFolder(t);
  for (let round = 0; round < 5; round++) {
    const path = join(folder, `${round}.sock`);
    await leaveStale(path);
    const starts = await Promise.allSettled(Array.from({ length: 10 }, () => server(t, path).listen()));
    const lost = starts.filter((start) => start.status === "rejected");
    assert.equal(lost.length, 9);
    for (const { reason } of lost) assert.ok(isGatehouseError(reason, "GATEHOUSE_ALREADY_RUNNING"), String(reason));
    assert.equal((await createAdminClient(path).health()).ok, true);
  }
});

test("a replacement that crashed in the middle does not block the next start for ever", async (t) => {
  const path = join(await temporaryFolder(t), "admin.sock");
  await leaveStale(path);
  await writeFile(`${path}.lock`, "");
  const longAgo = new Date(Date.now() - 60_000);
  await utimes(`${path}.lock`, longAgo, longAgo);
  await server(t, path).listen();
  await assert.rejects(lstat(`${path}.lock`), { code: "ENOENT" });
});

test("a process that holds the socket and says nothing is not taken for dead", async (t) => {
  const path = join(await temporaryFolder(t), "admin.sock");
  const holder = createServer(() => {});
  holder.listen(path);
  await once(holder, "listening");
  t.after(() => holder.close());
  await assert.rejects(server(t, path).listen(), (error) => isGatehouseError(error, "GATEHOUSE_ALREADY_RUNNING"));
});

test("a file that is no socket is never removed", async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, "notes.txt");
  await writeFile(file, "mine");
  const link = join(folder, "link.sock");
  await symlink(file, link);
  for (const path of [file, link, folder]) {
    await assert.rejects(server(t, path).listen(), (error) => isGatehouseError(error, "GATEHOUSE_LISTEN_FAILED"));
  }
  assert.equal(await readFile(file, "utf8"), "mine");
});

test("a folder that cannot be written, and a path that is too long, are told in words", async (t) => {
  const folder = await temporaryFolder(t);
  const cases = [join(folder, "a".repeat(120), "admin.sock")];
  if (process.getuid?.() !== 0) {
    const shut = join(folder, "shut");
    await mkdir(shut, { mode: 0o500 });
    cases.push(join(shut, "admin.sock"));
  }
  for (const path of cases) {
    await assert.rejects(server(t, path).listen(), (error) => {
      assert.ok(isGatehouseError(error, "GATEHOUSE_LISTEN_FAILED"), String(error));
      assert.ok(error.hint);
      return true;
    });
  }
});

test("questions are answered, and an action that fails keeps its code, words and hint", async (t) => {
  const path = join(await temporaryFolder(t), "admin.sock");
  let isBroken = false;
  await server(t, path, {
    reload: () =>
      Promise.reject(new GatehouseError("GATEHOUSE_PORT_IN_USE", { message: "443 is taken", hint: "ask ss" })),
    certificates: () => Promise.reject(new TypeError("x is undefined")),
    status: () => (isBroken ? Promise.reject(new Error("late")) : adminActions().status()),
  }).listen();
  const client = createAdminClient(path);
  assert.equal((await client.status()).version, "9.8.7");
  isBroken = true;
  await assert.rejects(client.status(), { code: "GATEHOUSE_ADMIN_FAILED" });
  await assert.rejects(client.reload(), { code: "GATEHOUSE_PORT_IN_USE", message: "443 is taken", hint: "ask ss" });
  await assert.rejects(client.certificates(), { code: "GATEHOUSE_ADMIN_FAILED", message: /x is undefined/ });
  assert.equal((await client.health()).ok, true, "it answers on after failures");
});

const strange: [bytes: string, expected: RegExp][] = [
  ["GET /v1/nothing HTTP/1.1\r\nHost: a\r\n\r\n", /^HTTP\/1\.1 404 [\s\S]*GATEHOUSE_ADMIN_FAILED/],
  ["POST /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", /^HTTP\/1\.1 404 /],
  ["GET /v1/reload HTTP/1.1\r\nHost: a\r\n\r\n", /^HTTP\/1\.1 404 /],
  [`GET /${"a".repeat(10_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, /^$/],
  ["\u0016\u0003\u0001 not http", /^$/],
];

test("strange questions are refused without harm", async (t) => {
  const path = join(await temporaryFolder(t), "admin.sock");
  await server(t, path).listen();
  for (const [bytes, expected] of strange) {
    const socket = connect(path);
    let answer = "";
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString()));
    socket.write(bytes);
    await closeOf(socket);
    assert.match(answer, expected, JSON.stringify(bytes.slice(0, 40)));
  }
  assert.equal((await createAdminClient(path).health()).ok, true);
});

const nobody: [what: string, make: (path: string, t: TestContext) => Promise<unknown>, code: string][] = [
  ["nothing there", () => Promise.resolve(), "GATEHOUSE_NOT_RUNNING"],
  ["a socket left behind", leaveStale, "GATEHOUSE_NOT_RUNNING"],
  ["a plain file", (path) => writeFile(path, ""), "GATEHOUSE_NOT_RUNNING"],
  ["a program that speaks something else", (path, t) => answering(path, t, "220 mail\r\n"), "GATEHOUSE_ADMIN_FAILED"],
  [
    "an HTTP server that is no Gatehouse",
    (path, t) => answering(path, t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    "GATEHOUSE_ADMIN_FAILED",
  ],
  [
    "an answer that breaks off",
    (path, t) => answering(path, t, 'HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{"ok":'),
    "GATEHOUSE_ADMIN_FAILED",
  ],
];

async function answering(path: string, t: TestContext, bytes: string): Promise<void> {
  const other = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(bytes));
  });
  other.listen(path);
  await once(other, "listening");
  t.after(() => other.close());
}

for (const [what, make, code] of nobody) {
  test(`asking where there is ${what} is ${code}, with a hint`, async (t) => {
    const path = join(await temporaryFolder(t), "admin.sock");
    await make(path, t);
    await assert.rejects(createAdminClient(path).health(), (error) => {
      assert.ok(isGatehouseError(error) && error.code === code, String(error));
      assert.ok(error.hint);
      return true;
    });
  });
}
