/**
 * How does the router in front of the home behave?
 * Owns: the numbers about it and their labels.
 * Never: takes a label from the router: ports and protocols are our own configuration.
 */
import type { MetricName } from "./catalog.ts";
import type { Tally } from "./cells.ts";

export interface RouterMetrics {
  /** Does it answer any of the protocols? undefined: it is not asked, and all its numbers but the counters go. */
  routerAnswers(answers: boolean | undefined): void;
  /** undefined takes the port off. */
  routerPort(labels: { protocol: string; port: number; family: string }, mapped: boolean | undefined): void;
  routerRequest(outcome: "ok" | "refused" | "conflict" | "silent" | "garbage"): void;
  routerRepair(reason: "reboot" | "drift"): void;
}

export function routerMetrics(tallyOf: (name: MetricName) => Tally): RouterMetrics {
  const answering = tallyOf("gatehouse_router_answers");
  const ports = tallyOf("gatehouse_router_port_mapped");
  const requests = tallyOf("gatehouse_router_requests_total");
  const repairs = tallyOf("gatehouse_router_repairs_total");
  return {
    routerAnswers(answers) {
      if (answers !== undefined) answering.set([], [], answers ? 1 : 0);
      else for (const tally of [answering, ports]) tally.removeWhere(() => true);
    },
    routerPort({ protocol, port, family }, mapped) {
      const isIt = (labels: Readonly<Record<string, string>>): boolean =>
        labels["protocol"] === protocol && labels["port"] === String(port) && labels["family"] === family;
      if (mapped === undefined) ports.removeWhere(isIt);
      else ports.set(["protocol", "port", "family"], [protocol, String(port), family], mapped ? 1 : 0);
    },
    routerRequest: (outcome) => requests.add(["outcome"], [outcome]),
    routerRepair: (reason) => repairs.add(["reason"], [reason]),
  };
}
