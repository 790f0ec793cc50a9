/**
 * Who is here, where thousands come and go?
 * Owns: a set that is changed in constant time and leaves nothing behind.
 * Never: keeps an order.
 *
 * A Set lost. V8 makes its table anew whenever as many have left as it holds, and a table that has become old is followed
 * by old ones. Each of those, long out of use, keeps all who stood in it until everything is collected: connections that
 * were closed within milliseconds were copied about for seconds, 7 KB of each (docs/performance.md, "Handshakes").
 */

/** What is in one such set at a time. */
export interface DenseSetMember {
  /** Where; −1: nowhere. Only the set writes it. */
  place: number;
}

export class DenseSet<T extends DenseSetMember> {
  /** Dense up to `#size`. Never made shorter: as long as the most there have been at a time, 8 bytes each. */
  readonly #members: (T | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Does nothing for one who is here already. */
  add(member: T): void {
    if (this.has(member)) return;
    member.place = this.#size;
    this.#members[this.#size++] = member;
  }

  has(member: T): boolean {
    return member.place >= 0 && this.#members[member.place] === member;
  }

  /** @returns whether it was here */
  delete(member: T): boolean {
    if (!this.has(member)) return false;
    const last = this.#members[--this.#size] as T;
    this.#members[member.place] = last;
    last.place = member.place;
    this.#members[this.#size] = undefined;
    member.place = -1;
    return true;
  }

  /**
   * Everybody who is here as it begins and stays. `visit` may delete or add anybody; then it may be given one member
   * twice, and is given those who were added or not. As many calls as there are members, at most.
   */
  forEach(visit: (member: T) => void): void {
    for (let at = this.#size - 1; at >= 0; at--) {
      // Several may have left at once.
      const member = this.#members[at];
      if (member !== undefined) visit(member);
    }
  }
}
