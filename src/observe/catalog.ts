/**
 * Which metrics are there, and what does each count?
 * Owns: every name of ours, its kind, labels, help, and how the numbers of several workers are put together.
 *   docs/metrics.md says the same for people; a test compares the two.
 * Never: holds a number.
 */

export interface MetricFacts {
  kind: "counter" | "gauge" | "histogram";
  help: string;
  labels: readonly string[];
  /** Default sum. */
  workers?: "max" | "first";
}

export const CATALOG = {
  gatehouse_http_requests_total: {
    kind: "counter",
    help: "Requests answered or given up, by the status sent (0: the client left first).",
    labels: ["site", "method", "code", "protocol"],
  },
  gatehouse_http_request_duration_seconds: {
    kind: "histogram",
    help: "From the request head to the last byte of the answer; upgrades are counted elsewhere.",
    labels: ["site"],
  },
  gatehouse_http_requests_in_flight: {
    kind: "gauge",
    help: "Requests that are being answered now, upgraded connections not included.",
    labels: ["site"],
  },
  gatehouse_http_received_bytes_total: {
    kind: "counter",
    help: "Body bytes from clients, tunnels of upgrades included.",
    labels: ["site"],
  },
  gatehouse_http_sent_bytes_total: {
    kind: "counter",
    help: "Body bytes to clients, tunnels of upgrades included.",
    labels: ["site"],
  },
  gatehouse_upgrades_active: {
    kind: "gauge",
    help: "Upgraded connections (WebSocket) that are open now.",
    labels: ["site"],
  },
  gatehouse_upgrade_duration_seconds: {
    kind: "histogram",
    help: "Life of upgraded connections that have ended.",
    labels: ["site"],
  },
  gatehouse_upstream_response_duration_seconds: {
    kind: "histogram",
    help: "From the request sent to the first byte of the target's answer.",
    labels: ["site", "upstream"],
  },
  gatehouse_upstream_errors_total: {
    kind: "counter",
    help: "Attempts that a target spoiled.",
    labels: ["site", "upstream", "reason"],
  },
  gatehouse_port_forward_sessions_active: {
    kind: "gauge",
    help: "Sessions open now on a forwarded port.",
    labels: ["port"],
  },
  gatehouse_port_forward_sessions_total: {
    kind: "counter",
    help: "Sessions begun on a forwarded port.",
    labels: ["port"],
  },
  gatehouse_port_forward_refused_total: {
    kind: "counter",
    help: "Connections and datagrams turned away: not on the list, no room, or too much for a client that proved nothing.",
    labels: ["port"],
  },
  gatehouse_port_forward_bytes_total: {
    kind: "counter",
    help: "Bytes carried by a forwarded port; in came from clients.",
    labels: ["port", "direction"],
  },
  gatehouse_connections_open: {
    kind: "gauge",
    help: "Client connections that are open now.",
    labels: ["listener"],
  },
  gatehouse_connections_rejected_total: {
    kind: "counter",
    help: "Client connections that were closed before a request was read.",
    labels: ["listener", "reason"],
  },
  gatehouse_limit_reached_total: {
    kind: "counter",
    help: "Times that a client or a target met one of the limits; docs/limits.md has what each does then.",
    labels: ["limit"],
  },
  gatehouse_tls_handshakes_total: {
    kind: "counter",
    help: "TLS handshakes by outcome: ok, failed, refused (name not served), pending (no certificate yet), challenge (a CA's question).",
    labels: ["listener", "version", "outcome"],
  },
  gatehouse_tls_certificate_not_after_timestamp_seconds: {
    kind: "gauge",
    help: "When the certificate in use expires.",
    labels: ["name", "source"],
    workers: "max",
  },
  gatehouse_tls_certificate_not_before_timestamp_seconds: {
    kind: "gauge",
    help: "When the certificate in use began to be valid.",
    labels: ["name"],
    workers: "max",
  },
  gatehouse_tls_certificate_renewal_timestamp_seconds: {
    kind: "gauge",
    help: "When the certificate in use is due for renewal.",
    labels: ["name"],
    workers: "max",
  },
  gatehouse_acme_orders_total: {
    kind: "counter",
    help: "Certificate orders that came to an end.",
    labels: ["outcome", "reason"],
  },
  gatehouse_acme_consecutive_failures: {
    kind: "gauge",
    help: "Failed orders in a row for a name; 0 after a success.",
    labels: ["name"],
    workers: "max",
  },
  gatehouse_router_answers: {
    kind: "gauge",
    help: "1 while the router answers PCP, NAT-PMP or UPnP, 0 while it does not; absent when it is not asked.",
    labels: [],
    workers: "max",
  },
  gatehouse_router_port_mapped: {
    kind: "gauge",
    help: "1 while the router leads this port here.",
    labels: ["protocol", "port", "family"],
    workers: "max",
  },
  gatehouse_router_requests_total: {
    kind: "counter",
    help: "Mappings asked for or renewed, by outcome: ok, refused, conflict, silent, garbage.",
    labels: ["outcome"],
  },
  gatehouse_router_repairs_total: {
    kind: "counter",
    help: "Times that mappings were found gone and made again: reboot (the router forgot all), drift (one changed).",
    labels: ["reason"],
  },
  gatehouse_ddns_updates_total: {
    kind: "counter",
    help: "Times that a service was told an address, by outcome: taken, refused (a person is wanted), failed.",
    labels: ["service", "outcome"],
  },
  gatehouse_ddns_last_success_timestamp_seconds: {
    kind: "gauge",
    help: "When a name was last seen to lead to this home.",
    labels: ["name"],
    workers: "max",
  },
  gatehouse_ddns_consecutive_failures: {
    kind: "gauge",
    help: "Times in a row that a name could not be brought home; 0 after a success.",
    labels: ["name"],
    workers: "max",
  },
  gatehouse_acme_next_try_timestamp_seconds: {
    kind: "gauge",
    help: "When the next order is planned for a name; in the past when it is due and waits its turn.",
    labels: ["name"],
    workers: "first",
  },
  gatehouse_certificate_served_ok: {
    kind: "gauge",
    help: "1 when the last handshake with our own listener showed the stored certificate, in date and with its chain; else 0.",
    labels: ["name"],
    workers: "first",
  },
  gatehouse_certificate_checked_timestamp_seconds: {
    kind: "gauge",
    help: "When that handshake was.",
    labels: ["name"],
    workers: "first",
  },
  gatehouse_log_lines_dropped_total: {
    kind: "counter",
    help: "Log lines that never reached their reader: it stalled, left, or had no room on its disk.",
    labels: [],
  },
  gatehouse_notify_messages_total: {
    kind: "counter",
    help: "Messages to people, by how they were sent and whether they arrived.",
    labels: ["kind", "outcome"],
  },
  gatehouse_config_last_reload_successful: {
    kind: "gauge",
    help: "1 when the configuration on disk was taken at the last start or reload, 0 when it was refused.",
    labels: [],
    workers: "first",
  },
  gatehouse_config_last_reload_success_timestamp_seconds: {
    kind: "gauge",
    help: "When a configuration was last taken.",
    labels: [],
    workers: "first",
  },
  gatehouse_workers_serving: {
    kind: "gauge",
    help: "Worker processes that serve now; 0 when one process does everything.",
    labels: [],
    workers: "first",
  },
  gatehouse_workers_lost_total: {
    kind: "counter",
    help: "Worker processes that were replaced: ended by themselves, hung, or failed to start.",
    labels: ["reason"],
  },
  gatehouse_build_info: {
    kind: "gauge",
    help: "Always 1; the labels tell what is running.",
    labels: ["version", "node", "openssl"],
    workers: "first",
  },
} as const satisfies Record<string, MetricFacts>;

export type MetricName = keyof typeof CATALOG;

/** OpenTelemetry's bounds for HTTP, and 30 and 60 for what waits on a target. Seconds. */
export const REQUEST_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60];

/** A page that is left, a film, a day with an open dashboard. Seconds. */
export const UPGRADE_BOUNDS = [1, 10, 60, 300, 1_800, 3_600, 14_400, 86_400];
