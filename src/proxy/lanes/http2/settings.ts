/**
 * What do both sides say about themselves (RFC 9113 §6.5.2, RFC 8441 §3)?
 * Owns: our SETTINGS, and what the client's change.
 * Never: acknowledges; the receiver does.
 */
import type { LimitsConfig } from "../../../config/model.ts";
import type { Connection } from "./connection.ts";
import { CODE, MAX_WINDOW, putUint32, SETTING, uint32 } from "./frames.ts";
import { STREAM_WINDOW } from "./stream.ts";

/** Of the dynamic table, until a client says otherwise. */
const TABLE_SIZE = 4_096;

/** The payload of our SETTINGS. */
export function ourSettings({ headSize, h2 }: LimitsConfig): Buffer {
  const settings: [number, number][] = [
    [SETTING.MAX_CONCURRENT_STREAMS, h2.streams],
    [SETTING.INITIAL_WINDOW_SIZE, STREAM_WINDOW],
    [SETTING.MAX_HEADER_LIST_SIZE, headSize],
    // A WebSocket is one more stream, and a browser needs one connection for all of Home Assistant.
    [SETTING.ENABLE_CONNECT_PROTOCOL, 1],
  ];
  const payload = Buffer.alloc(settings.length * 6);
  for (const [index, [id, value]] of settings.entries()) {
    payload[index * 6 + 1] = id;
    putUint32(payload, index * 6 + 2, value);
  }
  return payload;
}

/** @returns the error that ends the connection, or NO_ERROR */
export function takeSettings(connection: Connection, bytes: Buffer, start: number, end: number): number {
  for (let at = start; at < end; at += 6) {
    const id = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
    const code = take(connection, id, uint32(bytes, at + 2));
    if (code !== CODE.NO_ERROR) return code;
  }
  return CODE.NO_ERROR;
}

/** What is not here does not concern a sender of answers, or nobody knows it. */
function take(connection: Connection, id: number, value: number): number {
  if (id === SETTING.HEADER_TABLE_SIZE) {
    if (value < TABLE_SIZE) connection.sender.tableShrinks();
  } else if (id === SETTING.ENABLE_PUSH || id === SETTING.ENABLE_CONNECT_PROTOCOL) {
    if (value > 1) return CODE.PROTOCOL_ERROR;
  } else if (id === SETTING.MAX_FRAME_SIZE) {
    // Ours are never larger than the least that everybody takes.
    if (value < 16_384 || value > 16_777_215) return CODE.PROTOCOL_ERROR;
  } else if (id === SETTING.INITIAL_WINDOW_SIZE) {
    if (value > MAX_WINDOW) return CODE.FLOW_CONTROL_ERROR;
    const change = value - connection.streamWindow;
    connection.streamWindow = value;
    for (const stream of connection.streams.values()) if (!stream.widen(change)) return CODE.FLOW_CONTROL_ERROR;
  }
  return CODE.NO_ERROR;
}
