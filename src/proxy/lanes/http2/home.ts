/**
 * What do all HTTP/2 connections of a lane share?
 * Owns: one turn of the loop: requests that arrived begin together, and what they wrote leaves together.
 * Never: knows what a request wants.
 *
 * A turn later, not at once: a stream that was reset in the packet that opened it costs no more than its head
 * (CVE-2023-44487), and answers that came in one turn are one TLS record and one system call.
 */
import type { CoarseClock } from "../../clock.ts";
import type { LaneContext } from "../../exchange.ts";
import type { Connection } from "./connection.ts";
import type { Field } from "./field.ts";
import { CODE } from "./frames.ts";
import type { DateField } from "./hpack-encoder.ts";
import type { HuffmanReader } from "./huffman.ts";
import type { OutputPool } from "./output.ts";
import type { Sender } from "./sender.ts";
import type { Stream } from "./stream.ts";

/** A head has come. */
export interface Arrival {
  stream: Stream;
  fields: readonly Field[];
  endsAtHead: boolean;
  /** Not all of the fields are there. */
  isTooLarge: boolean;
  /** Of its block. */
  bytes: number;
}

export interface Home {
  readonly context: LaneContext;
  readonly clock: CoarseClock;
  readonly date: DateField;
  readonly huffman: HuffmanReader;
  readonly pool: OutputPool;
  readonly turn: Turn;
  gone(connection: Connection): void;
}

export class Turn {
  readonly #begin: (arrival: Arrival) => void;
  #arrivals: Arrival[] = [];
  #streams: Stream[] = [];
  #senders: Sender[] = [];
  #leaving: Stream[] = [];
  #nextLeaving: Stream[] = [];
  #isSet = false;

  constructor(begin: (arrival: Arrival) => void) {
    this.#begin = begin;
  }

  arrived(arrival: Arrival): void {
    this.#arrivals.push(arrival);
    this.#set();
  }

  /** It has a body in crumbs. */
  deliver(stream: Stream): void {
    this.#streams.push(stream);
    this.#set();
  }

  /** It has something to write. */
  touched(sender: Sender): void {
    this.#senders.push(sender);
    this.#set();
  }

  /**
   * Its answer is out, its request is not all here, and need not come (RFC 9113 §8.1). A turn later, in a TLS record of its
   * own: curl 7 forgets the answer when the reset is read together with it.
   */
  callOff(stream: Stream): void {
    this.#nextLeaving.push(stream);
    this.#set();
  }

  #set(): void {
    if (this.#isSet) return;
    this.#isSet = true;
    setImmediate(this.#run);
  }

  readonly #run = (): void => {
    const arrivals = this.#arrivals;
    this.#arrivals = [];
    for (const arrival of arrivals) if (!arrival.stream.isClosed) this.#begin(arrival);
    const streams = this.#streams;
    this.#streams = [];
    for (const stream of streams) stream.deliver();
    for (const stream of this.#leaving) stream.reset(CODE.NO_ERROR);
    this.#leaving = this.#nextLeaving;
    this.#nextLeaving = [];
    const senders = this.#senders;
    this.#senders = [];
    this.#isSet = false;
    for (const sender of senders) sender.flush();
    // What is still to be called off, and whatever the writes above have set going.
    if (this.#leaving.length + this.#streams.length + this.#senders.length > 0) this.#set();
  };
}
