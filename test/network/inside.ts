/**
 * A program that runs on a host of the lab and asks the router what its argument says; prints what came of each, as JSON.
 */
import { findGateway } from "../../src/network/gateway.ts";
import { createNatPmp } from "../../src/network/nat-pmp.ts";
import { createPcp } from "../../src/network/pcp.ts";
import type { PortRequest, RouterSpeaker } from "../../src/network/speaker.ts";
import { createPinholes } from "../../src/network/upnp-pinhole.ts";
import { findUpnp } from "../../src/network/upnp.ts";

export type Ask =
  | { ask: "gateway" }
  | { ask: "state" }
  | { ask: "map"; port: PortRequest }
  | { ask: "holder"; port: PortRequest }
  | { ask: "unmap"; port: PortRequest; externalPort: number };

export interface Script {
  by: "pcp" | "pcp-ipv6" | "nat-pmp" | "upnp" | "upnp-ipv6";
  /** Of the nonces. */
  secret: string;
  asks: readonly Ask[];
}

export type Said = { value: unknown } | { code: string; message: string; hint: string };

const { by, secret, asks } = JSON.parse(process.argv[2] ?? "") as Script;
const gateway = await findGateway();
if (gateway === undefined) throw new Error("no gateway");
const { address, ownAddress, ipv6 } = gateway;
const signal = AbortSignal.timeout(30_000);

async function speaker(): Promise<RouterSpeaker> {
  const key = Buffer.from(secret);
  if (by === "nat-pmp") return createNatPmp({ gateway: address, ownAddress });
  if (by === "pcp") return createPcp({ gateway: address, ownAddress, secret: key });
  if (by === "upnp") return findUpnp({ gateway: address, ownAddress }, signal);
  if (ipv6 === undefined) throw new Error("no IPv6 gateway");
  if (by === "pcp-ipv6") return createPcp({ gateway: ipv6.address, ownAddress: ipv6.ownAddress, secret: key });
  const { firewall } = await findUpnp({ gateway: address, ownAddress }, signal);
  if (firewall === undefined) throw new Error("no firewall control");
  return createPinholes({ service: firewall, gateway: ipv6.address, ownIpv6: ipv6.ownAddress });
}

const said: Said[] = [];
let made: RouterSpeaker | undefined;
for (const one of asks) {
  try {
    if (one.ask === "gateway") {
      said.push({ value: gateway });
      continue;
    }
    made ??= await speaker();
    if (one.ask === "state") said.push({ value: { speaks: made.speaks, ...(await made.state(signal)) } });
    else if (one.ask === "map") said.push({ value: await made.map(one.port, signal) });
    else if (one.ask === "holder") said.push({ value: (await made.holder?.(one.port, signal)) ?? null });
    else said.push({ value: (await made.unmap(one.port, one.externalPort, signal)) ?? null });
  } catch (error) {
    const { code = "", message = "", hint = "" } = error as { code?: string; message?: string; hint?: string };
    said.push({ code, message, hint });
  }
}
process.stdout.write(JSON.stringify(said));
