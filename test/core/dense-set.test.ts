/**
 * A dense set is a set without an order: whoever was added and not deleted is visited, once.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type DenseSetMember, DenseSet } from "../../src/core/dense-set.ts";

interface Member extends DenseSetMember {
  readonly name: number;
}

const member = (name: number): Member => ({ name, place: -1 });
const members = (count: number): Member[] => Array.from({ length: count }, (_, name) => member(name));
const namesOf = (set: DenseSet<Member>): number[] => {
  const names: number[] = [];
  set.forEach(({ name }) => names.push(name));
  return names.sort((one, other) => one - other);
};

test("it holds what a set holds, whoever comes and goes in whatever order", () => {
  const steps = fc.array(fc.record({ joins: fc.boolean(), who: fc.nat(11) }), { maxLength: 200 });
  fc.assert(
    fc.property(steps, (all) => {
      const people = members(12);
      const set = new DenseSet<Member>();
      const expected = new Set<number>();
      for (const { joins, who } of all) {
        const someone = people[who] ?? member(who);
        if (joins) set.add(someone);
        else assert.equal(set.delete(someone), expected.has(who));
        if (joins) expected.add(who);
        else expected.delete(who);
        assert.equal(set.has(someone), joins);
        assert.equal(set.size, expected.size);
      }
      assert.deepEqual(
        namesOf(set),
        [...expected].sort((one, other) => one - other),
      );
    }),
  );
});

test("whoever leaves or joins while all are visited disturbs nobody", () => {
  const leavings = fc.array(fc.array(fc.nat(9), { maxLength: 4 }), { minLength: 10, maxLength: 10 });
  fc.assert(
    fc.property(leavings, (all) => {
      const people = members(10);
      const set = new DenseSet<Member>();
      for (const someone of people) set.add(someone);
      const left = new Set<number>();
      const visited = new Set<number>();
      let visits = 0;
      set.forEach(({ name }) => {
        assert.ok(!left.has(name), "one who had left was visited");
        visited.add(name);
        visits++;
        for (const who of all[name] ?? []) if (set.delete(people[who] ?? member(who))) left.add(who);
        if (name < 100) set.add(member(100 + name));
      });
      for (const { name } of people)
        assert.ok(visited.has(name) || left.has(name), `${name} stayed and was not visited`);
      assert.ok(visits <= people.length);
    }),
  );
});

test("one who is in another set is not in this one", () => {
  const [here, there] = [new DenseSet<Member>(), new DenseSet<Member>()];
  const [first, second] = [member(1), member(2)];
  here.add(first);
  there.add(second);
  assert.equal(here.has(second), false);
  assert.equal(here.delete(second), false);
  assert.equal(there.size, 1);
});
