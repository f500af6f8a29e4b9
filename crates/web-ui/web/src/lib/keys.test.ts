import { expect, test } from 'vitest';

import { KeyReader, type Wish } from './keys';

function read(keys: string, gap = 100, more: { isTyping?: boolean; isModified?: boolean } = {}): (Wish | undefined)[] {
  const reader = new KeyReader();
  return [...keys].map((key, index) => reader.read({ key, time: index * gap, isTyping: false, isModified: false, ...more }));
}

test('signs', () => {
  expect(read('/?fx')).toEqual([{ act: 'search' }, { act: 'help' }, { act: 'filter' }, undefined]);
});

test('g and a letter', () => {
  expect(read('gf')).toEqual([undefined, { act: 'go', letter: 'f' }]);
  expect(read('gg')).toEqual([undefined, { act: 'go', letter: 'g' }]);
  expect(read('gfb')).toEqual([undefined, { act: 'go', letter: 'f' }, undefined]);
});

test('g does not wait for ever', () => {
  expect(read('gb', 2000)).toEqual([undefined, undefined]);
  expect(read('g/')).toEqual([undefined, undefined]);
});

test('text and shortcuts of the browser are left alone', () => {
  expect(read('/?gf', 100, { isTyping: true })).toEqual([undefined, undefined, undefined, undefined]);
  expect(read('gf', 100, { isModified: true })).toEqual([undefined, undefined]);
});
