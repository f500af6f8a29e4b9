import { expect, test } from 'vitest';

import type { Point } from './api';
import { savedPercent, series } from './series';

const HOUR = 3_600_000;
const point = (hour: number, source: number, stored: number, packed: number): Point => ({
  start_ms: hour * HOUR,
  source_bytes: source,
  deduplicated_bytes: 0,
  delta_bytes: 0,
  sent_bytes: stored,
  stored_bytes: stored,
  restored_bytes: 0,
  packed_bytes: packed,
});

test('every hour has its point, and what lies here stays while nothing happens', () => {
  const made = series([point(900, 10, 10, 100), point(998, 200, 50, 150)], 'hour', 1000 * HOUR + 5);
  expect(made.times).toHaveLength(48);
  expect(made.times.at(-1)).toBe(1000 * 3600);
  expect(made.packed.slice(-4)).toEqual([100, 150, 150, 150]);
  expect(made.source.slice(-4)).toEqual([0, 200, 0, 0]);
  expect(made.savedPercent.slice(-3)).toEqual([75, null, null]);
});

test('nothing saved is nothing, and never less', () => {
  expect(savedPercent(0, 0)).toBeNull();
  expect(savedPercent(100, 140)).toBe(0);
});
