import { expect, test } from 'vitest';

import { rowsInSight, scrolledTo } from './window';

test('a list of 100,000 has few rows as elements', () => {
  expect(rowsInSight(0, 600, 44, 100_000, 5)).toEqual({ first: 0, end: 19 });
  const middle = rowsInSight(44 * 50_000, 600, 44, 100_000, 5);
  expect(middle).toEqual({ first: 49_995, end: 50_019 });
  expect(rowsInSight(44 * 99_990, 600, 44, 100_000, 5)).toEqual({ first: 99_985, end: 100_000 });
});

test('positions outside the list', () => {
  expect(rowsInSight(-80, 600, 44, 3, 5)).toEqual({ first: 0, end: 3 });
  expect(rowsInSight(9000, 600, 44, 3, 5)).toEqual({ first: 3, end: 3 });
  expect(rowsInSight(0, 600, 44, 0, 5)).toEqual({ first: 0, end: 0 });
});

test('scrolling moves no further than needed', () => {
  expect(scrolledTo(3, 0, 600, 44)).toBe(0);
  expect(scrolledTo(20, 0, 600, 44)).toBe(21 * 44 - 600);
  expect(scrolledTo(2, 500, 600, 44)).toBe(88);
});
