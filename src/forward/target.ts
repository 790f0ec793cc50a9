/**
 * Where does a forwarded port lead, and may it lead there?
 * Owns: looking the target's name up at each connection, and the rule that a target is a machine inside.
 * Never: holds a connection.
 */
import { lookup as lookUp, type LookupAddress, type LookupOptions } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import type { PortConfig } from "../config/model.ts";
import { GatehouseError } from "../core/errors.ts";
import { isInsideAddress } from "../core/networks.ts";

type Port = Pick<PortConfig, "target" | "isPublic">;

/**
 * For `net.connect`: a name that resolves to a public address is refused unless `public: true`. A forward to the
 * outside is an open relay under somebody else's address, and DNS must not be able to make one (DNS rebinding).
 */
export function lookupFor(port: Port): LookupFunction {
  return (hostname, options: LookupOptions, done) => {
    lookUp(hostname, { ...options, all: true }, (error, addresses) => {
      const allowed = error === null ? allowedOf(port, addresses) : [];
      const [first] = allowed;
      if (error !== null) done(error, "");
      else if (first === undefined) done(outsideTarget(port), "");
      else if (options.all === true) done(null, allowed);
      else done(null, first.address, first.family);
    });
  };
}

/** One address of the target, for sockets that have to know its family first. */
export function resolveTarget(port: Port, done: (error: Error | undefined, address: string) => void): void {
  const { host } = port.target;
  if (isIP(host) !== 0) {
    done(literalRefusal(port), host);
    return;
  }
  lookUp(host, { all: true }, (error, addresses) => {
    const [first] = error === null ? allowedOf(port, addresses) : [];
    if (first === undefined) done(error ?? outsideTarget(port), "");
    else done(undefined, first.address);
  });
}

/** A literal address never reaches `lookup`. */
export function literalRefusal(port: Port): GatehouseError | undefined {
  const { host } = port.target;
  return isIP(host) !== 0 && !port.isPublic && !isInsideAddress(host) ? outsideTarget(port) : undefined;
}

const allowedOf = (port: Port, addresses: readonly LookupAddress[]): LookupAddress[] =>
  addresses.filter(({ address }) => port.isPublic || isInsideAddress(address));

function outsideTarget(port: Port): GatehouseError {
  return new GatehouseError("GATEHOUSE_FORWARD_OUTSIDE", {
    message: `${port.target.text} is a public address, and a forward leads to machines inside.`,
    hint: "Point it at the machine's private address, or write public: true if that is meant.",
  });
}
