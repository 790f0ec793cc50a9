/**
 * A program that runs on a host of the lab and looks at the public address as its argument says; prints what it found.
 */
import { readFileSync } from "node:fs";
import { lookAtPublicAddress, type Witness } from "../../src/network/public-ip.ts";

export interface Look {
  routerAddress: string;
  witnesses: readonly Witness[];
  caFile: string;
}

const { routerAddress, witnesses, caFile } = JSON.parse(process.argv[2] ?? "") as Look;
const roots = readFileSync(caFile, "utf8");
const found = await lookAtPublicAddress({ routerAddress, witnesses, roots, signal: AbortSignal.timeout(20_000) });
process.stdout.write(JSON.stringify(found));
