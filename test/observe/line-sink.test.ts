/**
 * Lines on their way to a descriptor: gathered for a moment, whole and in order, at once when somebody asks.
 */
import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createLineSink, type LineSink } from "../../src/observe/line-sink.ts";
import { eventually } from "../support/eventually.ts";

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
