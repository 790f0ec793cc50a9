/**
 * Where are keys, certificates, orders and tokens kept?
 * Owns: the promise every store makes; `files` is the first to keep it.
 * Never: knows what the bytes mean.
 *
 * A key is a relative path of one to eight parts joined by `/`; each part is 1–253 of `A–Z a–z 0–9 . _ - @ *` (253: the
 * longest DNS name) and does not begin with a dot. `write` returns when the bytes are durable (fsync of file and folder)
 * and replaces whole or not at all: a reader sees the old bytes or the new ones. A missing key reads as undefined, never
 * as an error. An empty prefix lists everything.
 * `list` gives the keys below a prefix folder, sorted. Locks are advisory, expire when their owner's heartbeat stops,
 * and are not proof that nobody else wrote: look again after getting one. All calls may run concurrently.
 *
 * @throws GATEHOUSE_STORAGE_FAILED with place, cause and remedy
 */
export interface Storage {
  read(key: string): Promise<Buffer | undefined>;
  write(key: string, bytes: Uint8Array | string): Promise<void>;
  /** Removing what is not there is not an error. */
  remove(key: string): Promise<void>;
  list(prefix: string): Promise<string[]>;
  /** Write, fsync, read back and remove a random probe: finds a full or read-only disk before a CA's limit is spent. */
  probe(): Promise<void>;
  /** @throws GATEHOUSE_LOCK_TIMEOUT after `withinMs` */
  lock(name: string, options: { withinMs: number; signal?: AbortSignal }): Promise<StorageLock>;
}

export interface StorageLock {
  release(): Promise<void>;
}
