/**
 * Is another process at this already, and is it still alive?
 * Owns: lock files: exclusive creation, heartbeat, what counts as abandoned.
 * Never: promises more than advice.
 *
 * What this is not: proof. Node has no flock(2), and network file systems often have none that works, so this is a file
 * created exclusively whose time is refreshed. A process that was suspended for longer than STALE_AFTER_MS, or two that
 * take over the same abandoned lock within the same instant, can both believe they hold it. Whoever gets a lock looks
 * again at what it protects, and every write below it is whole by itself (CertMagic's file storage says the same).
 */
import { randomBytes } from "node:crypto";
import { link, open, readFile, readlink, rename, stat, unlink, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { GatehouseError } from "../core/errors.ts";
import type { StorageLock } from "./contract.ts";
import { diskCode, diskError } from "./disk-errors.ts";

const HEARTBEAT_MS = 5_000;
/** Six heartbeats: a loaded Raspberry Pi may miss some. */
const STALE_AFTER_MS = 30_000;
/** Orders take seconds; a fifth of a second of delay is nothing, and looking costs one stat. */
const LOOK_AGAIN_MS = 200;

interface Owner {
  id: string;
  pid: number;
  /** When that pid was started, in ticks since boot: a pid that was given out again is somebody else. */
  startedAt: string;
  /** Boot and pid namespace: only there does the pid mean anything. Empty where unknown (no /proc). */
  place: string;
  host: string;
}

interface FileLockRequest {
  path: string;
  root: string;
  name: string;
  withinMs: number;
  signal: AbortSignal | undefined;
  onWarning: (message: string, hint: string) => void;
}

/** @throws GATEHOUSE_LOCK_TIMEOUT, GATEHOUSE_STORAGE_FAILED, or the signal's reason */
export async function acquireFileLock(request: FileLockRequest): Promise<StorageLock> {
  const { path, root, withinMs, signal } = request;
  const deadline = performance.now() + withinMs;
  try {
    const place = await thisPlace();
    const me: Owner = {
      id: randomBytes(16).toString("hex"),
      pid: process.pid,
      startedAt: (await startTime(process.pid)) ?? "",
      place,
      host: hostname(),
    };
    for (;;) {
      signal?.throwIfAborted();
      if (await create(path, me)) return keep(me, request);
      const holder = await look(path);
      if (holder === "gone") continue;
      if (await isAbandoned(holder, place)) {
        await takeAway(path, holder.owner?.id);
        continue;
      }
      const left = deadline - performance.now();
      if (left <= 0) throw timeout(request, holder.owner);
      await wait(Math.min(LOOK_AGAIN_MS, left), undefined, signal === undefined ? {} : { signal });
    }
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason;
    throw diskError("lock", path, root, error);
  }
}

async function create(path: string, me: Owner): Promise<boolean> {
  try {
    const file = await open(path, "wx", 0o600);
    try {
      await file.writeFile(JSON.stringify(me));
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if (diskCode(error) === "EEXIST") return false;
    throw error;
  }
}

interface Holder {
  /** Undefined while the file is still being written, or when it is garbage: then the time alone counts. */
  owner: Owner | undefined;
  mtimeMs: number;
}

async function look(path: string): Promise<Holder | "gone"> {
  try {
    const { mtimeMs } = await stat(path);
    return { owner: ownerIn(await readFile(path, "utf8")), mtimeMs };
  } catch (error) {
    if (diskCode(error) === "ENOENT") return "gone";
    throw error;
  }
}

function ownerIn(text: string): Owner | undefined {
  try {
    const value = JSON.parse(text) as Partial<Owner> | null;
    const isWhole =
      typeof value?.id === "string" &&
      Number.isSafeInteger(value.pid) &&
      typeof value.startedAt === "string" &&
      typeof value.place === "string";
    return isWhole ? (value as Owner) : undefined;
  } catch {
    return undefined;
  }
}

async function isAbandoned({ owner, mtimeMs }: Holder, place: string): Promise<boolean> {
  // Both ways: after the clock was set back, the time in the file lies ahead and would never grow old.
  if (Math.abs(Date.now() - mtimeMs) > STALE_AFTER_MS) return true;
  if (owner === undefined || owner.place === "" || owner.place !== place) return false;
  return (await startTime(owner.pid)) !== owner.startedAt;
}

/**
 * Renamed away rather than removed, and looked at afterwards: if a rival took the abandoned lock over in between, what we
 * hold is the rival's fresh lock, and it is put back.
 */
async function takeAway(path: string, abandonedId: string | undefined): Promise<void> {
  const aside = join(dirname(path), `.tmp-${randomBytes(8).toString("hex")}`);
  try {
    await rename(path, aside);
  } catch (error) {
    if (diskCode(error) === "ENOENT") return;
    throw error;
  }
  const taken = await look(aside);
  if (taken !== "gone" && taken.owner?.id !== abandonedId) await link(aside, path).catch(() => {});
  await unlink(aside).catch(() => {});
}

function keep(me: Owner, { path, root, name, onWarning }: FileLockRequest): StorageLock {
  let isMine = true;
  const stillMine = async (): Promise<boolean> => {
    const holder = await look(path);
    return holder !== "gone" && holder.owner?.id === me.id;
  };
  const beat = async (): Promise<void> => {
    const now = new Date();
    if (await stillMine()) await utimes(path, now, now);
    else if (isMine) lost("another process took it over");
  };
  const lost = (why: string): void => {
    clearInterval(heart);
    onWarning(
      `the lock ${name} was lost: ${why}`,
      "Two Gatehouse processes may share this state folder; run one, or give each its own.",
    );
  };
  const heart = setInterval(() => {
    beat().catch((error: unknown) => lost(diskCode(error) ?? "unknown"));
  }, HEARTBEAT_MS);
  heart.unref();

  return {
    async release() {
      if (!isMine) return;
      isMine = false;
      clearInterval(heart);
      try {
        if (await stillMine()) await unlink(path);
      } catch (error) {
        if (diskCode(error) !== "ENOENT") throw diskError("unlock", path, root, error);
      }
    },
  };
}

function timeout({ name, withinMs, path }: FileLockRequest, owner: Owner | undefined): GatehouseError {
  const holder = owner === undefined ? "another process" : `process ${owner.pid} on ${owner.host}`;
  return new GatehouseError("GATEHOUSE_LOCK_TIMEOUT", {
    message: `${holder} has held the lock ${name} for all of ${withinMs} ms`,
    hint: "It will be tried again. If that process is not Gatehouse at work on the same state folder, end it.",
    detail: { path, pid: owner?.pid, host: owner?.host },
  });
}

/** The boot and the pid namespace (two containers with one volume see each other's pids as dead). */
async function thisPlace(): Promise<string> {
  try {
    const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
    return `${boot.trim()} ${await readlink("/proc/self/ns/pid")}`;
  } catch {
    return "";
  }
}

/** Field 22 of proc(5) stat, counted after the name, which may hold spaces and brackets. Undefined: no such process. */
async function startTime(pid: number): Promise<string | undefined> {
  try {
    const line = await readFile(`/proc/${pid}/stat`, "utf8");
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    // A zombie holds nothing any more, though its parent has not asked for it yet.
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
