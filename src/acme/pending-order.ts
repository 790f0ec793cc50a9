/**
 * Which order is under way for a name, so that a crash does not cost a second one?
 * Owns: `acme/<ca>/orders/<name>.json`: the order's URL and the private key it will be signed for, in one file, so that
 * the two can never be of different orders.
 * Never: talks to the CA.
 */
import { createPrivateKey } from "node:crypto";
import type { Storage } from "../storage/contract.ts";
import { caFolder } from "./account.ts";
import { isRecord } from "./problem.ts";

export interface PendingOrder {
  url: string;
  names: readonly string[];
  /** PKCS#8 PEM. */
  keyPem: string;
  createdAt: number; // ms since 1970
  /** When the CA forgets it, ms since 1970. */
  expires: number | undefined;
}

export interface PendingOrders {
  read(name: string): Promise<PendingOrder | undefined>;
  write(name: string, order: PendingOrder): Promise<void>;
  drop(name: string): Promise<void>;
}

export function createPendingOrders(storage: Storage, directoryUrl: string): PendingOrders {
  const place = (name: string): string => `${caFolder(directoryUrl)}/orders/${name.replaceAll(":", "_")}.json`;
  return {
    read: async (name) => parse(await storage.read(place(name))),
    write: (name, order) => storage.write(place(name), `${JSON.stringify({ version: 1, ...order }, undefined, 2)}\n`),
    drop: (name) => storage.remove(place(name)),
  };
}

/** What cannot be read is as good as none: a new order costs less than being stuck. */
function parse(bytes: Buffer | undefined): PendingOrder | undefined {
  try {
    const data: unknown = JSON.parse(bytes?.toString("utf8") ?? "");
    if (!isRecord(data)) return undefined;
    const { url, names, keyPem, createdAt, expires } = data;
    if (typeof url !== "string" || typeof keyPem !== "string" || !Array.isArray(names)) return undefined;
    createPrivateKey(keyPem);
    return {
      url,
      keyPem,
      names: names.map(String),
      createdAt: Number(createdAt),
      expires: typeof expires === "number" ? expires : undefined,
    };
  } catch {
    return undefined;
  }
}
