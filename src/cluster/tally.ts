/**
 * How many connections has each worker at this moment, and how many are on their way to it?
 * Owns: a few bytes that all processes of one Gatehouse share, four numbers for each worker's place.
 * Never: decides anything by them.
 *
 * A message comes too late: of a hundred connections at once a worker has its share within milliseconds. The file lies in
 * memory and has no name any more, it is open in all processes, and a look costs a microsecond. Where a system keeps no
 * such folder, or lets nobody write there, there is none. Each number has one writer; but the primary may say of a worker that
 * it takes none.
 */
import { randomUUID } from "node:crypto";
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";

const FOLDER = "/dev/shm";
/** As many as `workers:` may be. */
const PLACES = 64;
/** Open and 1, 0 for a place that takes none; received: by the worker. Given and taken: by the primary. */
const [OPEN, RECEIVED, GIVEN, TAKEN, NUMBERS] = [0, 1, 2, 3, 4];
const BYTES = 4;

export class Tally {
  readonly fd: number;
  readonly #all = new Uint32Array(PLACES * NUMBERS);
  #isOpen = true;

  /** @param fd  of another process's tally, inherited */
  constructor(fd: number) {
    this.fd = fd;
  }

  /** Undefined: this system has none. */
  static create(): Tally | undefined {
    const path = `${FOLDER}/gatehouse-${randomUUID()}`;
    let fd: number | undefined;
    try {
      fd = openSync(path, "wx+", 0o600);
      unlinkSync(path);
      // All of it, so that no later write can lack room.
      writeSync(fd, new Uint8Array(PLACES * NUMBERS * BYTES));
      return new Tally(fd);
    } catch {
      if (fd !== undefined) closeSync(fd);
      return undefined;
    }
  }

  /** The worker's. @param open  undefined: it takes none @param received  of those that others passed on, since it began */
  count(place: number, open: number | undefined, received: number): void {
    this.#write(place, OPEN, [open === undefined ? 0 : open + 1, received]);
  }

  /** The primary's. @param given  to this worker @param taken  of what this worker passed on, since it began */
  note(place: number, given: number, taken: number): void {
    this.#write(place, GIVEN, [given, taken]);
  }

  /** The worker is gone or does not answer: no more until it counts again. By the primary. */
  leaveOut(place: number): void {
    this.#write(place, OPEN, [0]);
  }

  /** The place that takes connections and has the fewest besides this one, with those on their way from the primary. */
  least(besides: number): { place: number; open: number } | undefined {
    this.#look();
    let least: { place: number; open: number } | undefined;
    for (let place = 0; place < PLACES; place++) {
      const value = this.#number(place, OPEN);
      if (value === 0 || place === besides) continue;
      const open = value - 1 + Math.max(0, this.#number(place, GIVEN) - this.#number(place, RECEIVED));
      if (least === undefined || open < least.open) least = { place, open };
    }
    return least;
  }

  /** Of what this worker passed on, how many has the primary given to somebody? As of the last look for the least. */
  taken(place: number): number {
    return this.#number(place, TAKEN);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.fd);
  }

  #number(place: number, number: number): number {
    return this.#all[place * NUMBERS + number] ?? 0;
  }

  #look(): void {
    if (this.#isOpen) readSync(this.fd, this.#all, 0, this.#all.byteLength, 0);
  }

  #write(place: number, first: number, numbers: readonly number[]): void {
    if (!this.#isOpen || place < 0 || place >= PLACES) return;
    writeSync(this.fd, Uint32Array.from(numbers), 0, numbers.length * BYTES, (place * NUMBERS + first) * BYTES);
  }
}
