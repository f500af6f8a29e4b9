import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { Asked, KnownState } from './api';
import { Knowing } from './known';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A server that answers with what it makes of each path. */
function knowingOf(upcoming: () => Iterable<Asked> = () => [], answer = (_path: string): KnownState => 'absent') {
  const requests: Asked[][] = [];
  const ask = async (files: Asked[]) => {
    requests.push(files);
    return files.map(({ path }) => answer(path));
  };
  return { requests, knowing: new Knowing(ask, upcoming) };
}

const file = (path: string, size = 1): Asked => ({ path, size });

test('questions of one moment are one request', async () => {
  const { requests, knowing } = knowingOf(undefined, (path) => (path === 'b' ? 'same-size' : 'absent'));
  const states = Promise.all([knowing.state(file('a')), knowing.state(file('b'))]);
  await vi.advanceTimersByTimeAsync(100);
  expect(await states).toEqual(['absent', 'same-size']);
  expect(requests).toEqual([[file('a'), file('b')]]);
});

test('those that wait are asked for with them, each once', async () => {
  const waiting = Array.from({ length: 1000 }, (_, index) => file(`${index}`));
  const { requests, knowing } = knowingOf(() => waiting, (path) => (Number(path) % 2 ? 'different' : 'absent'));
  for (let index = 0; index < 450; index += 1) {
    const state = knowing.state(waiting.shift()!);
    await vi.advanceTimersByTimeAsync(25);
    expect(await state).toBe(index % 2 ? 'different' : 'absent');
  }
  expect(requests.map((files) => files.length)).toEqual([200, 200, 200]);
});

test('a request holds no more than the server takes', async () => {
  const long = 'x'.repeat(3000);
  const { requests, knowing } = knowingOf();
  const states = Promise.all(Array.from({ length: 250 }, (_, index) => knowing.state(file(`${long}${index}`))));
  await vi.advanceTimersByTimeAsync(100);
  expect(await states).toHaveLength(250);
  for (const files of requests) expect(JSON.stringify({ files }).length).toBeLessThanOrEqual(64 * 1024);
  expect(requests.length).toBeGreaterThan(10);
});

test('an answer of long ago is asked for again', async () => {
  const waiting = [file('later')];
  const { requests, knowing } = knowingOf(() => waiting);
  void knowing.state(file('now'));
  await vi.advanceTimersByTimeAsync(100);
  waiting.length = 0;
  await vi.advanceTimersByTimeAsync(60_000);
  void knowing.state(file('later'));
  await vi.advanceTimersByTimeAsync(100);
  expect(requests).toEqual([[file('now'), file('later')], [file('later')]]);
});

test('a request that failed fails those that asked, and the others ask again', async () => {
  const waiting = [file('later')];
  let isDown = true;
  const knowing = new Knowing(
    async (files) => {
      if (isDown) throw new Error('down');
      return files.map(() => 'absent' as const);
    },
    () => waiting,
  );
  const failed = expect(knowing.state(file('now'))).rejects.toThrow('down');
  await vi.advanceTimersByTimeAsync(100);
  await failed;
  isDown = false;
  const state = knowing.state(waiting.pop()!);
  await vi.advanceTimersByTimeAsync(100);
  expect(await state).toBe('absent');
});
