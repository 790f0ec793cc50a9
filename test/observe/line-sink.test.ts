/**
 * Lines on their way to a descriptor: gathered for a moment, whole and in order, at once when somebody asks.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createLineSink, type LineSink } from "../../src/observe/line-sink.ts";
import { eventually } from "../support/eventually.ts";
import { runProgram } from "../support/programs.ts";

function sinkIntoFile(t: TestContext): { sink: LineSink; text(): string } {
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-line-sink-"));
  const file = join(folder, "log");
  const fd = openSync(file, "a");
  t.after(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  return { sink: createLineSink(fd), text: () => readFileSync(file, "utf8") };
}

const flushed = (sink: LineSink): Promise<void> => new Promise((resolve) => sink.flush(resolve));

test("lines arrive without anybody asking, those of a moment together and in order", async (t) => {
  const { sink, text } = sinkIntoFile(t);
  sink.write("one\n");
  await new Promise((resolve) => setImmediate(resolve));
  sink.write("two\n");
  await eventually("both", () => text() === "one\ntwo\n", 60_000);
  sink.write("three\n");
  await eventually("the third", () => text() === "one\ntwo\nthree\n", 60_000);
});

test("a flush does not wait for the moment, and covers what is written while it runs", async (t) => {
  const { sink, text } = sinkIntoFile(t);
  await flushed(sink);
  let expected = "";
  for (let round = 0; round < 20; round++) {
    const lines = Array.from({ length: 100 }, (_, at) => `${round} ${at}\n`);
    for (const line of lines.slice(0, 50)) sink.write(line);
    const done = flushed(sink);
    for (const line of lines.slice(50)) sink.write(line);
    expected += lines.join("");
    await done;
    assert.ok(text().endsWith(expected.slice(-lines.slice(50).join("").length)), `round ${round}`);
  }
  assert.equal(text(), expected);
});

/** Everything that lies in a pipe, without waiting for more. */
function drained(fd: number): string {
  const all: Buffer[] = [];
  for (;;) {
    const piece = Buffer.alloc(65_536);
    try {
      all.push(piece.subarray(0, readSync(fd, piece)));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, "EAGAIN");
      return Buffer.concat(all).toString();
    }
  }
}

test("lines for a reader that stalls are written, or counted as dropped and told", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-line-sink-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const pipe = join(folder, "pipe");
  assert.equal((await runProgram("mkfifo", [pipe])).code, 0);
  const fd = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  t.after(() => closeSync(fd));
  const sink = createLineSink(fd);
  const line = `${"x".repeat(999)}\n`;
  let written = 0;
  while (sink.dropped() < 5) {
    sink.write(line);
    written++;
    // A pipe holds 64 KB; what waits behind it is bounded.
    if (written % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(written < 20_000, "what nobody reads is kept without a bound");
  }
  let text = "";
  await eventually("it is told", () => (text += drained(fd)).includes('"event":"log.dropped"'));
  const told = Number(/"event":"log\.dropped","count":(\d+)/.exec(text)?.[1]);
  assert.equal(told, sink.dropped());
  assert.equal(text.split("\n").filter((one) => one.startsWith("x")).length + told, written);
});

test("every line for a disk that is full counts as dropped", async (t) => {
  const fd = openSync("/dev/full", "a");
  t.after(() => closeSync(fd));
  const sink = createLineSink(fd);
  for (let count = 0; count < 300; count++) sink.write(`${count}\n`);
  await flushed(sink);
  assert.equal(sink.dropped(), 300);
});

const SINK = new URL("../../src/observe/line-sink.ts", import.meta.url).href;
const LINES = 6_000;
/** Some ten thousand bytes a turn, so that far more than one untorn piece waits when the moment is over. */
const PROGRAM = `
const { createLineSink } = await import(${JSON.stringify(SINK)});
const sink = createLineSink(1, { isShared: true });
const [name] = process.argv.slice(1);
for (let at = 0; at < ${LINES}; at++) {
  sink.write(name + " " + at + " " + name.repeat(at % 300) + ".\\n");
  if (at % 100 === 99) await new Promise(setImmediate);
}
sink.flush(() => {});
`;

/** Resolves with what came through when both are gone. */
const SHARED: Record<string, (t: TestContext) => Promise<string>> = {
  // What Node calls a pipe is a pair of Unix sockets, as journald's.
  "a socket": (t) => writeBoth(t, '"$@" a & "$@" b; wait', "pipe"),
  "a pipe": (t) => writeBoth(t, '{ "$@" a & "$@" b; wait; } | cat', "pipe"),
  "a file": async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "gatehouse-line-sink-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, "log");
    // Not for appending: the two share its offset, as after a redirection by a shell.
    const fd = openSync(file, "w");
    t.after(() => closeSync(fd));
    await writeBoth(t, '"$@" a & "$@" b; wait', fd);
    return readFileSync(file, "utf8");
  },
};

async function writeBoth(t: TestContext, shell: string, stdout: "pipe" | number): Promise<string> {
  const words = ["-c", shell, "sh", process.execPath, "--input-type=module", "-e", PROGRAM];
  const child = spawn("sh", words, { stdio: ["ignore", stdout, "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (piece: string) => (text += piece));
  const [code] = (await once(child, "close")) as [number | null];
  assert.equal(code, 0);
  return text;
}

for (const [where, run] of Object.entries(SHARED)) {
  test(`two processes write to ${where}, and no line of either is torn, lost or out of order`, async (t) => {
    const lines = (await run(t)).split("\n");
    assert.equal(lines.pop(), "");
    for (const name of ["a", "b"]) {
      const own = lines.filter((line) => line.startsWith(`${name} `));
      assert.equal(own.length, LINES, name);
      for (const [at, line] of own.entries()) assert.equal(line, `${name} ${at} ${name.repeat(at % 300)}.`);
    }
    assert.equal(lines.length, LINES * 2);
  });
}
