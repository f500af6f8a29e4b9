import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { notices } from './notices.svelte';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  for (const { id } of notices.list) notices.close(id);
  vi.useRealTimers();
});

const texts = () => notices.list.map(({ text }) => text);

test('what was done goes by itself, later with a way back, and trouble stays', () => {
  notices.done('copied');
  notices.done('removed', () => {});
  notices.trouble('refused');
  vi.advanceTimersByTime(7000);
  expect(texts()).toEqual(['removed', 'refused']);
  vi.advanceTimersByTime(4000);
  expect(texts()).toEqual(['refused']);
});

test('nothing goes while somebody is at it', () => {
  notices.done('removed', () => {});
  vi.advanceTimersByTime(9000);
  notices.hold();
  vi.advanceTimersByTime(60_000);
  expect(texts()).toEqual(['removed']);
  notices.release();
  vi.advanceTimersByTime(9000);
  expect(texts()).toEqual(['removed']);
  vi.advanceTimersByTime(2000);
  expect(texts()).toEqual([]);
});

test('the last that can be undone is undone, once', () => {
  const undone: string[] = [];
  notices.done('first', () => undone.push('first'));
  notices.done('second', () => undone.push('second'));
  notices.done('third');
  expect([notices.undo(), notices.undo(), notices.undo()]).toEqual([true, true, false]);
  expect(undone).toEqual(['second', 'first']);
  expect(texts()).toEqual(['third']);
});

test('only the last few are shown', () => {
  for (const text of ['1', '2', '3', '4', '5']) notices.done(text);
  expect(texts()).toEqual(['2', '3', '4', '5']);
});
