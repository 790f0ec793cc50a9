/**
 * What a running Gatehouse would answer, for the tests of the admin socket and the command line.
 */
import type { AdminActions } from "../../src/admin/actions.ts";
import { NO_DDNS } from "../../src/network/ddns-report.ts";

const HOUR = 3_600_000;

const ordinary = { profile: undefined, lastFailure: undefined, isRevoked: false, isDisabled: false };

const nobody = () => Promise.reject(new Error("not asked in this test"));

export function adminActions(special: Partial<AdminActions> = {}): AdminActions {
  const now = Date.now();
  return {
    status: () =>
      Promise.resolve({
        version: "9.8.7",
        pid: 4711,
        startedAt: now - 3 * HOUR,
        configFile: "/etc/gatehouse/gatehouse.yaml",
        isDraining: false,
        listeners: [
          { kind: "https", host: "::", port: 443 },
          { kind: "http", host: "0.0.0.0", port: 80 },
        ],
        sites: [
          {
            name: "ha.example.org",
            routes: [
              { prefix: "/api/", target: "10.0.0.5:3000" },
              { prefix: "/", target: "192.168.0.200:8123" },
            ],
            redirect: undefined,
          },
          { name: "old.example.org", routes: [], redirect: "https://ha.example.org{path}" },
        ],
        quarantined: [{ name: "bad.example.org", finding: "gatehouse.yaml:9:5  sites  unknown key" }],
        certificates: { valid: 1, pending: 1, expired: 0, refused: 0 },
        openConnections: 12,
        visitors: { fromWorld: { connections: 3, lastAt: now - 1_000 }, fromInside: [] },
        workers: [{ pid: 4712, startedAt: now - 2 * HOUR, openConnections: 12, restarts: 1, state: "serving" }],
        lastReload: undefined,
      }),
    certificates: () =>
      Promise.resolve([
        {
          name: "ha.example.org",
          state: "valid",
          issuer: "Example CA E5",
          notBefore: now - 24 * HOUR,
          notAfter: now + 41 * 24 * HOUR + HOUR / 2,
          nextTry: now + 20 * 24 * HOUR + HOUR / 2,
          lastError: undefined,
          consecutiveFailures: 0,
          ...ordinary,
          renewAt: now + 20 * 24 * HOUR + HOUR / 2,
        },
        {
          name: "new.example.org",
          state: "pending",
          issuer: undefined,
          notBefore: undefined,
          notAfter: undefined,
          nextTry: now + HOUR / 2,
          lastError: "no answer on port 80\u001b[2J; forward it",
          consecutiveFailures: 3,
          ...ordinary,
          renewAt: undefined,
        },
        {
          name: "late.example.org",
          state: "expired",
          issuer: "Example CA E5",
          notBefore: now - 91 * 24 * HOUR,
          notAfter: now - 24 * HOUR,
          nextTry: now - 1_000,
          lastError: "refused",
          consecutiveFailures: 9,
          ...ordinary,
          renewAt: now - 31 * 24 * HOUR,
        },
      ]),
    health: () => Promise.resolve({ ok: true, problems: [] }),
    reload: () => Promise.resolve({ ok: true, findings: [] }),
    forwards: () => Promise.resolve([]),
    router: () =>
      Promise.resolve({
        report: {
          map: "auto",
          gateway: {
            address: "192.168.0.1",
            interface: "eth0",
            ownAddress: "192.168.0.200",
            ownMac: "02:00:00:aa:bb:cc",
            ipv6: undefined,
          },
          speaks: "upnp-igd1",
          speaksIpv6: undefined,
          externalAddress: "100.64.0.9",
          externalKind: "shared",
          lastAnswerAt: now - 5_000,
          ports: [
            {
              name: "https",
              protocol: "tcp",
              family: "ipv4",
              externalPort: 443,
              internalPort: 8443,
              state: "mapped",
              until: now + HOUR / 2,
              repairs: 2,
              error: undefined,
            },
            {
              name: "http",
              protocol: "tcp",
              family: "ipv4",
              externalPort: 80,
              internalPort: 8080,
              state: "conflict",
              until: undefined,
              repairs: 0,
              error: {
                code: "GATEHOUSE_ROUTER_CONFLICT",
                message: "The router has tcp 80 for 192.168.0.9:80 (\u001b[2Jnas).",
                hint: "Remove that forward in the router.",
              },
            },
          ],
          error: undefined,
        },
        checklist: {
          router: "192.168.0.1",
          forwards: [
            {
              serviceName: "Gatehouse https",
              portRange: "443",
              localIp: "192.168.0.200",
              localPort: 8443,
              protocol: "TCP",
            },
            {
              serviceName: "Gatehouse http",
              portRange: "80",
              localIp: "192.168.0.200",
              localPort: 8080,
              protocol: "TCP",
            },
          ],
          reservation: { mac: "02:00:00:aa:bb:cc", ip: "192.168.0.200" },
          ipv6: undefined,
        },
      }),
    ddns: () => Promise.resolve(NO_DDNS),
    updateDdns: () => Promise.resolve(NO_DDNS),
    doctor: () => Promise.resolve({ last: undefined }),
    issue: nobody,
    revoke: nobody,
    disable: nobody,
    cleanup: nobody,
    show: nobody,
    accounts: nobody,
    devices: nobody,
    addDevice: nobody,
    revokeDevice: nobody,
    importBundle: nobody,
    exportBundle: nobody,
    testNotify: nobody,
    ...special,
  };
}
