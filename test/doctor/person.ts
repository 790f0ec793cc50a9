/**
 * A program on Gatehouse's host: somebody who types one command after another.
 * Owns: running verbs of the command line in one process, so that a table of them costs no start each.
 */
import { Writable } from "node:stream";
import { createProgram } from "../../src/cli/program.ts";

export interface Typed {
  id: number;
  args: readonly string[];
  /** This machine's clock is wrong by so much, ms. */
  clockOff: number;
}

export interface Shown {
  id: number;
  code: number;
  out: string;
  err: string;
}

const rightNow = Date.now.bind(Date);

class Paper extends Writable {
  text = "";
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

async function type({ id, args, clockOff }: Typed): Promise<void> {
  Date.now = () => rightNow() + clockOff;
  const [out, err] = [new Paper(), new Paper()];
  // A terminal is more than is written to here.
  const terminal = { out: out as unknown as NodeJS.WriteStream, err: err as unknown as NodeJS.WriteStream };
  const code = await createProgram({ ...terminal, env: process.env }, "0.0.0").run(args);
  process.send?.({ id, code, out: out.text, err: err.text } satisfies Shown);
}

process.on("message", (typed: Typed) => void type(typed));
process.on("disconnect", () => process.exit());
process.stdout.write("ready\n");
