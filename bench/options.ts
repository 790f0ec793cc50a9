/**
 * What was asked for on the command line?
 * Owns: the options, their defaults and their help.
 * Never: runs anything.
 */
import { parseArgs } from "node:util";

export interface BenchOptions {
  /** Empty: all. */
  scenarios: string[];
  rivals: string[];
  rounds: number;
  seconds: number;
  jsonFile: string | undefined;
  /** Write an SVG there. */
  pictureFile: string | undefined;
  /** Read a result instead of measuring. */
  from: string | undefined;
  isSmoke: boolean;
  /** main.js or main.ts of the Gatehouse to measure. */
  entry: string | undefined;
  /** A second Gatehouse to measure beside it. */
  base: string | undefined;
}

export const HELP = `npm run bench -- [options]

  --scenario A,B   only these (default: all)
  --rivals A,B     only these beside Gatehouse: nginx, haproxy, caddy, http-proxy; none for nobody. bare-node, which
                   takes part only when it is named, is Node's TLS alone with every byte passed on unread: the floor
  --rounds N       rounds; each visits every rival once, and medians are over rounds (default 5)
  --seconds N      length of one measurement (default 4)
  --json FILE      write the result there; a folder gets a file named after the date
  --picture FILE   draw the result as SVG
  --from FILE      measure nothing, take this result; for --picture
  --entry FILE     the Gatehouse to measure: main.js or main.ts (default dist/cli/main.js)
  --base FILE      a second Gatehouse, measured beside it as "base": was a change a gain?
  --smoke          a few requests of each and no more: does the bench itself work?
`;

const list = (text: string | undefined): string[] => text?.split(",").filter((word) => word !== "") ?? [];

/** @throws Error with a sentence for the user */
export function readOptions(args: readonly string[]): BenchOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      scenario: { type: "string" },
      rivals: { type: "string" },
      rounds: { type: "string" },
      seconds: { type: "string" },
      json: { type: "string" },
      picture: { type: "string" },
      from: { type: "string" },
      entry: { type: "string" },
      base: { type: "string" },
      smoke: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  return {
    scenarios: list(values.scenario),
    rivals: list(values.rivals),
    rounds: wholeNumber("--rounds", values.rounds, values.smoke ? 1 : 5),
    seconds: wholeNumber("--seconds", values.seconds, 4),
    jsonFile: values.json,
    pictureFile: values.picture,
    from: values.from,
    isSmoke: values.smoke,
    entry: values.entry,
    base: values.base,
  };
}

function wholeNumber(name: string, text: string | undefined, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 600) throw new Error(`${name} takes a number from 1 to 600`);
  return value;
}
