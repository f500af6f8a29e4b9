import { expect, test } from 'vitest';

import { NOTHING, all, extended, kept, only, toggled } from './selection';

const ORDER = ['a', 'b', 'c', 'd', 'e'];
const keys = (selection: { keys: ReadonlySet<string> }) => [...selection.keys].sort().join('');

test('one, then one more, then one less', () => {
  const two = toggled(only('b'), 'd');
  expect(keys(two)).toBe('bd');
  expect(keys(toggled(two, 'b'))).toBe('d');
});

test('a range grows and shrinks around where it began', () => {
  const grown = extended(only('c'), 'e', ORDER);
  expect(keys(grown)).toBe('cde');
  expect(keys(extended(grown, 'b', ORDER))).toBe('bc');
});

test('a range without a beginning is one row', () => {
  expect(keys(extended(NOTHING, 'd', ORDER))).toBe('d');
  expect(keys(extended(only('gone'), 'd', ORDER))).toBe('d');
});

test('rows that are gone are not selected', () => {
  const selection = kept(all(only('c'), ORDER), ['a', 'b']);
  expect(keys(selection)).toBe('ab');
  expect(selection.current).toBeUndefined();
});
