/**
 * Which limits can be reached?
 * Owns: their names, as metrics and log have them; docs/limits.md says the same for people, and a test compares the two.
 * Never: holds a number.
 */

export const LIMITS = [
  "connections",
  "connections_per_address",
  "connections_per_neighbour",
  "new_connections_per_address",
  "handshakes",
  "handshake_time",
  "first_byte_time",
  "head_time",
  "head_size",
  "head_fields",
  "field_size",
  "url_size",
  "idle_time",
  "requests_per_connection",
  "pipelined",
  "body_size",
  "body_rate",
  "body_silence",
  "body_crumbs",
  "unread_body",
  "write_stall",
  "answer_head_size",
  "upstream_connections",
  "upstream_queue",
  "tunnels",
  "tunnels_per_address",
  "tunnel_silence",
  "h2_streams",
  "h2_resets",
  "h2_frames",
  "h2_head",
  "h2_idle_time",
] as const;

export type LimitName = (typeof LIMITS)[number];

export const isLimitName = (name: unknown): name is LimitName => (LIMITS as readonly unknown[]).includes(name);
