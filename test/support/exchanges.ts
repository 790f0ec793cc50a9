/**
 * One exchange as the lanes report it, ready to be made special.
 */
import type { ExchangeRecord } from "../../src/observe/access-log.ts";

export function exchangeRecord(special: Partial<ExchangeRecord> = {}): ExchangeRecord {
  return {
    id: "0199-a",
    kind: "request",
    site: "ha.example.org",
    method: "GET",
    host: "ha.example.org",
    path: "/lovelace/0",
    version: "1.1",
    scheme: "https",
    tlsVersion: "TLSv1.3",
    status: 200,
    clientAddress: "203.0.113.7",
    userAgent: "Mozilla/5.0",
    upstream: "192.168.0.200:8123",
    upstreamMs: 3.25,
    durationMs: 5.1,
    bytesIn: 0,
    bytesOut: 1234,
    error: undefined,
    ...special,
  };
}
