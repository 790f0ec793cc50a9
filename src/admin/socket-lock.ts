/**
 * Is another Gatehouse running here?
 * Owns: taking the admin socket's path: free, left behind, or in use.
 * Never: removes what is not a socket, or a socket that somebody answers on.
 *
 * The kernel's bind is the lock: it cannot be held by the dead. Only replacing a socket that was left behind needs more
 * (two starters could each find it stale, and the second would unlink the fresh socket of the first), so that one step
 * happens under a lock file. A pid file lost: after a crash, or between containers, its number means somebody else.
 */
import { chmodSync } from "node:fs";
import { lstat, mkdir, open, rm, stat, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { errorText, GatehouseError } from "../core/errors.ts";

const CONNECT_WITHIN_MS = 2_000;
/** Replacing takes a few milliseconds: a lock file this old was left by a crash in the middle of it. */
const REPLACING_WITHIN_MS = 10_000;
const POLL_MS = 50;

/** @throws GATEHOUSE_ALREADY_RUNNING, GATEHOUSE_LISTEN_FAILED */
export async function listenAlone(server: Server, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw cannotListen(path, cause, "Create the folder, or choose another path in admin:.");
  });
  if (await bind(server, path)) return;
  const deadline = Date.now() + REPLACING_WITHIN_MS + CONNECT_WITHIN_MS;
  for (;;) {
    await refuseIfTaken(path);
    if (await replaceStale(server, path)) return;
    if (Date.now() > deadline) {
      throw cannotListen(path, undefined, `Another start is replacing it and does not end: remove ${lockOf(path)}.`);
    }
    await pause(POLL_MS);
  }
}

const lockOf = (path: string): string => `${path}.lock`;

/** False when the path is taken. Nobody but this user can connect, from the first instant. */
function bind(server: Server, path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      server.off("listening", onListening);
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(cannotListen(path, error, remedyFor(error)));
    };
    const onListening = (): void => {
      server.off("error", onError);
      resolve(true);
    };
    server.once("error", onError);
    server.once("listening", onListening);
    // listen() binds before it returns, so the mask covers it; 077 and not 177 because a folder that another part of
    // this process makes in the same instant must stay usable.
    const mask = process.umask(0o077);
    try {
      server.listen(path);
      if (server.listening) chmodSync(path, 0o600);
    } catch (error) {
      onError(error as NodeJS.ErrnoException);
    } finally {
      process.umask(mask);
    }
  });
}

/** Returns when the path is free or stale. */
async function refuseIfTaken(path: string): Promise<void> {
  const entry = await lstat(path).catch(() => undefined);
  if (entry === undefined) return;
  if (!entry.isSocket()) {
    throw cannotListen(path, undefined, "Something that is not a socket is there; move it away or change admin:.");
  }
  const answer = await knock(path);
  if (answer === "refused" || answer === "gone") return;
  throw new GatehouseError("GATEHOUSE_ALREADY_RUNNING", {
    message:
      answer === "forbidden"
        ? `Another user's Gatehouse has the admin socket ${path}.`
        : `A Gatehouse is already running here; it answers on ${path}.`,
    hint: "Ask it with gatehouse status, make it take its file with gatehouse reload, or stop it first. A second one needs its own state: and admin:.",
  });
}

/** False when another start is doing the same. */
async function replaceStale(server: Server, path: string): Promise<boolean> {
  const lock = lockOf(path);
  const handle = await open(lock, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "EEXIST") return undefined;
    throw cannotListen(path, error, remedyFor(error));
  });
  if (handle === undefined) {
    const age = await stat(lock)
      .then((entry) => Date.now() - entry.mtimeMs)
      .catch(() => 0);
    if (age > REPLACING_WITHIN_MS) await rm(lock, { force: true });
    return false;
  }
  try {
    // Whoever had the lock a moment ago may have bound it.
    await refuseIfTaken(path);
    await unlink(path).catch(() => {});
    return await bind(server, path);
  } finally {
    await handle.close();
    await rm(lock, { force: true });
  }
}

type Answer = "answered" | "refused" | "gone" | "forbidden";

/** Silence counts as an answer: a stopped process still owns its socket. */
function knock(path: string): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const timer = setTimeout(() => done("answered"), CONNECT_WITHIN_MS);
    const done = (answer: Answer): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    socket.on("connect", () => done("answered"));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") done("refused");
      else if (error.code === "ENOENT") done("gone");
      else if (error.code === "EACCES" || error.code === "EPERM") done("forbidden");
      else done("answered");
    });
  });
}

function remedyFor(error: NodeJS.ErrnoException): string {
  if (error.code === "EACCES" || error.code === "EPERM")
    return "Give this user the folder, or change admin: to one that it may write.";
  if (error.code === "EROFS") return "The file system is read-only: point admin: to a folder that can be written.";
  if (error.code === "ENAMETOOLONG" || error.code === "EINVAL") {
    return "The kernel takes 107 bytes for a socket's path: choose a shorter one in admin:.";
  }
  return "Choose another path in admin:.";
}

function cannotListen(path: string, cause: unknown, hint: string): GatehouseError {
  const because = cause === undefined ? "" : `: ${errorText(cause)}`;
  return new GatehouseError("GATEHOUSE_LISTEN_FAILED", {
    message: `The admin socket ${path} cannot be made${because}.`,
    hint,
    cause,
  });
}
