/**
 * Who lives where in the small internet, and how are the wires laid?
 * Owns: host names, addresses, the shell script that makes one set of namespaces and the one that removes it.
 * Never: runs anything.
 *
 *   world ─┐                             ┌─ edge      Gatehouse
 *          ├─ core ─ isp ─ home ─ router ┼─ target
 *   services                             └─ client
 *
 * Nothing here touches a network of the machine: every wire has both ends inside. The addresses outside have to look
 * public, because miniupnpd (like many routers) refuses to map ports on a WAN address of the documentation ranges.
 */
export const HOSTS = ["isp", "world", "services", "router", "edge", "target", "client"] as const;
export type HostName = (typeof HOSTS)[number];

export const LAN = {
  network: "192.168.77.0/24",
  network6: "2a00:1:77::/64",
  router: "192.168.77.1",
  router6: "2a00:1:77::1",
  edge: "192.168.77.10",
  edge6: "2a00:1:77::10",
  target: "192.168.77.20",
  target6: "2a00:1:77::20",
  client: "192.168.77.30",
  client6: "2a00:1:77::30",
} as const;

export const OUTSIDE = {
  isp: "1.2.3.1",
  isp6: "2a00:1:3::1",
  world: "1.2.3.10",
  world6: "2a00:1:3::10",
  /** bind9, pebble, DuckDNS and the first witness. */
  services: "1.2.3.20",
  services6: "2a00:1:3::20",
  /** The second witness. */
  witness: "1.2.3.21",
} as const;

/** What the provider gives the router: a public address, one behind its own NAT, or one of the box in front. */
export type Wan = "public" | "cgnat" | "private";

export const WAN: Record<Wan, { isp: string; router: string; next: string }> = {
  public: { isp: "5.6.7.1", router: "5.6.7.77", next: "5.6.7.99" },
  cgnat: { isp: "100.64.0.1", router: "100.64.0.77", next: "100.64.0.99" },
  private: { isp: "192.168.1.1", router: "192.168.1.77", next: "192.168.1.99" },
};
const WAN6 = { isp: "2a00:1:7::1", router: "2a00:1:7::77" };

export const namespaceOf = (id: string, host: HostName): string => `${id}-${host}`;

/** @param id  unique on this machine; `gatehouse-lab-PID-N`, so that what a crash left behind can be told by its pid */
export function wiringScript(id: string, wan: Wan): string {
  const ns = (host: HostName): string => namespaceOf(id, host);
  const home = WAN[wan];
  const lines = HOSTS.flatMap((host) => [
    `ip netns add ${ns(host)}`,
    `ip -n ${ns(host)} link set lo up`,
    `mkdir -p /etc/netns/${ns(host)}`,
    `echo 'nameserver ${OUTSIDE.services}' > /etc/netns/${ns(host)}/resolv.conf`,
  ]);
  const bridge = (on: HostName, name: string, addresses: readonly string[]): void => {
    lines.push(`ip -n ${ns(on)} link add ${name} type bridge`, `ip -n ${ns(on)} link set ${name} up`);
    for (const address of addresses) lines.push(`ip -n ${ns(on)} addr add ${address} dev ${name} ${dad(address)}`);
  };
  const plug = (host: HostName, on: HostName, into: string, addresses: readonly string[], gateways: string[]): void => {
    const [me, there] = [ns(host), ns(on)];
    lines.push(
      `ip -n ${me} link add eth0 type veth peer name ${host} netns ${there}`,
      `ip -n ${there} link set ${host} master ${into} up`,
      `ip -n ${me} link set eth0 up`,
    );
    for (const address of addresses) lines.push(`ip -n ${me} addr add ${address} dev eth0 ${dad(address)}`);
    for (const gateway of gateways) lines.push(`ip -n ${me} route add default via ${gateway}`);
  };
  bridge("isp", "core", [`${OUTSIDE.isp}/24`, `${OUTSIDE.isp6}/64`]);
  bridge("router", "lan", [`${LAN.router}/24`, `${LAN.router6}/64`]);
  const out = [OUTSIDE.isp, OUTSIDE.isp6];
  plug("world", "isp", "core", [`${OUTSIDE.world}/24`, `${OUTSIDE.world6}/64`], out);
  const served = [`${OUTSIDE.services}/24`, `${OUTSIDE.witness}/24`, `${OUTSIDE.services6}/64`];
  plug("services", "isp", "core", served, out);
  for (const host of ["edge", "target", "client"] as const) {
    plug(host, "router", "lan", [`${LAN[host]}/24`, `${LAN[`${host}6`]}/64`], [LAN.router, LAN.router6]);
  }
  lines.push(
    `ip -n ${ns("isp")} link add home type veth peer name wan netns ${ns("router")}`,
    `ip -n ${ns("isp")} link set home up`,
    `ip -n ${ns("router")} link set wan up`,
    // Whatever a home is given later: the provider's side is there.
    ...Object.values(WAN).map(({ isp }) => `ip -n ${ns("isp")} addr add ${isp}/24 dev home`),
    `ip -n ${ns("isp")} addr add ${WAN6.isp}/64 dev home nodad`,
    `ip -n ${ns("router")} addr add ${home.router}/24 dev wan`,
    `ip -n ${ns("router")} addr add ${WAN6.router}/64 dev wan nodad`,
    `ip -n ${ns("router")} route add default via ${home.isp}`,
    `ip -n ${ns("router")} route add default via ${WAN6.isp}`,
    `ip -n ${ns("isp")} route add ${LAN.network6} via ${WAN6.router}`,
  );
  for (const host of ["isp", "router"] as const) {
    // What the bridge carries must not pass the router's rules a second time, or a loopback's answers get lost.
    const own = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
    const bridged = ["ip", "ip6", "arp"].map((kind) => `net.bridge.bridge-nf-call-${kind}tables=0`);
    lines.push(`ip netns exec ${ns(host)} sysctl -qw ${own.join(" ")}`);
    lines.push(`ip netns exec ${ns(host)} sysctl -qew ${bridged.join(" ")} || true`);
  }
  return lines.join("\n");
}

/** Without waiting whether another has the same address: nobody has. */
const dad = (address: string): string => (address.includes(":") ? "nodad" : "");

/** Ends what still runs in them, by pid, and removes every namespace of `id`. Safe to run twice. */
export function removalScript(id: string): string {
  return HOSTS.map((host) => {
    const name = namespaceOf(id, host);
    return `if [ -e /run/netns/${name} ]; then
  for pid in $(ip netns pids ${name}); do kill -9 "$pid" 2>/dev/null || true; done
  ip netns del ${name} || true
fi
rm -rf /etc/netns/${name}`;
  }).join("\n");
}
