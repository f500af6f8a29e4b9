import { expect, test } from 'vitest';

import { complaintOf, ordered, stemLength, type Entry, type Order } from './entry';

const file = (name: string, size = 0, modified = 0): Entry => ({ key: name, name, isFolder: false, size, modified });
const folder = (name: string): Entry => ({ key: name, name, isFolder: true, size: 0, modified: undefined });
const names = (rows: Entry[], order: Order) => ordered(rows, order).map(({ name }) => name);

test('folders first, numbers as numbers, in both directions', () => {
  const rows = [file('b10'), file('b9'), folder('z'), file('A')];
  expect(names(rows, { column: 'name', isDescending: false })).toEqual(['z', 'A', 'b9', 'b10']);
  expect(names(rows, { column: 'name', isDescending: true })).toEqual(['z', 'b10', 'b9', 'A']);
});

test('by size and time, equal ones by name', () => {
  const rows = [file('c', 5, 1), file('b', 5, 3), file('a', 7, 2)];
  expect(names(rows, { column: 'size', isDescending: false })).toEqual(['b', 'c', 'a']);
  expect(names(rows, { column: 'modified', isDescending: true })).toEqual(['b', 'a', 'c']);
});

test('100,000 entries are ordered at once', () => {
  const rows = Array.from({ length: 100_000 }, (_, index) => file(`${(index * 7919) % 100_000}.txt`));
  const found = names(rows, { column: 'name', isDescending: false });
  expect(found.slice(0, 3)).toEqual(['0.txt', '1.txt', '2.txt']);
  expect(found.at(-1)).toBe('99999.txt');
});

test('names that the drive cannot hold', () => {
  expect(['', 'a/b', '..', 'ä'.repeat(128), 'ok.txt'].map(complaintOf)).toEqual(['empty', 'slash', 'dots', 'long', undefined]);
});

test('the ending of a name is left alone', () => {
  expect(['a.tar.gz', '.profile', 'plain'].map(stemLength)).toEqual([5, 8, 5]);
});
