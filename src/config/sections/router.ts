/**
 * How may the router be asked for ports?
 * Owns: the block `router:` from its declaration to the model and back.
 * Never: asks it.
 */
import type * as z from "zod";
import { formatDuration } from "../../core/time.ts";
import { block, choice, duration, flag } from "../values/leaves.ts";

export interface RouterConfig {
  /** Which protocol it is asked by; off: not at all. */
  map: "off" | "auto" | "pcp" | "nat-pmp" | "upnp";
  leaseMs: number;
  checkMs: number;
  /** Give the ports back at the end. */
  unmap: boolean;
}

export const routerSchema = block("The router in front of the home: which ports it is asked to lead here.", {
  map: choice(
    {
      doc: "Ask the router to lead 443 and 80 here, by which protocol. auto takes the best that answers; off asks nothing.",
      default: "off",
    },
    ["off", "auto", "pcp", "nat-pmp", "upnp"],
  ),
  lease: duration({
    doc: "How long the router keeps a port unless it is asked again, which is at half of that.",
    default: "2h",
    min: "2m",
    max: "1d",
  }),
  check: duration({
    doc: "How often the router is asked whether it still knows the ports.",
    default: "20s",
    min: "5s",
    max: "1h",
  }),
  unmap: flag({ doc: "Give the ports back when Gatehouse stops.", default: false }),
});

export const resolveRouter = (declared: z.output<typeof routerSchema>): RouterConfig => ({
  map: declared.map,
  leaseMs: declared.lease,
  checkMs: declared.check,
  unmap: declared.unmap,
});

export const routerOut = ({ map, leaseMs, checkMs, unmap }: RouterConfig) => ({
  map,
  lease: formatDuration(leaseMs),
  check: formatDuration(checkMs),
  unmap,
});
