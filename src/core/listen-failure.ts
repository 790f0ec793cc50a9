/**
 * Why could an address not be listened on, and what does a person do about it?
 * Owns: the words for EADDRINUSE, EACCES and their like, the same for every listener.
 * Never: opens a socket.
 */
import { errorText, GatehouseError } from "./errors.ts";

export type ListenPlace = { host: string | undefined; port: number } | { fd: number };

/** @param setting  the key a person would change: `listen`, `metrics.listen`, `ports` */
export function listenFailure(
  error: NodeJS.ErrnoException,
  place: ListenPlace,
  setting: string,
  protocol: "tcp" | "udp" = "tcp",
): GatehouseError {
  const where = "fd" in place ? `file descriptor ${place.fd}` : `port ${place.port}`;
  const port = "fd" in place ? 0 : place.port;
  const cause = error;
  if (error.code === "EADDRINUSE") {
    const asker = protocol === "tcp" ? "ss -ltnp" : "ss -lunp";
    return new GatehouseError("GATEHOUSE_PORT_IN_USE", {
      message: `${setting}: the ${where} is already in use by another program.`,
      hint: `Ask who has it: ${asker} 'sport = :${port}' (as root it names the program). Stop that program, or choose another port in ${setting}.`,
      cause,
    });
  }
  if (error.code === "EACCES" || error.code === "EPERM") {
    return new GatehouseError("GATEHOUSE_PORT_FORBIDDEN", {
      message: `${setting}: this user may not listen on ${where}.`,
      hint:
        `Ports below 1024 need a right. Give it once with: sudo setcap cap_net_bind_service=+ep "$(readlink -f ${shellWord(process.execPath)})"; ` +
        `or under systemd with AmbientCapabilities=CAP_NET_BIND_SERVICE; ` +
        `or for the whole machine with: sysctl net.ipv4.ip_unprivileged_port_start=${port}; ` +
        `or listen on a higher port and let the router forward ${port} to it.`,
      cause,
    });
  }
  if (error.code === "EADDRNOTAVAIL") {
    return new GatehouseError("GATEHOUSE_LISTEN_FAILED", {
      message: `${setting}: this machine has no address ${"fd" in place ? where : (place.host ?? "")} to listen on.`,
      hint: "Its addresses: ip -brief address. Leave the address out to listen on all of them.",
      cause,
    });
  }
  return new GatehouseError("GATEHOUSE_LISTEN_FAILED", {
    message: `${setting}: cannot listen on ${where}: ${errorText(error)}`,
    hint: "fd" in place ? "Was the socket handed over (systemd: a .socket unit, LISTEN_FDS)?" : "See the cause.",
    cause,
  });
}

const shellWord = (text: string): string => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
