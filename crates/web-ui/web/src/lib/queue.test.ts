import { expect, test } from 'vitest';

import { PARALLEL, PARALLEL_SMALL, Queue, type Reports, type Upload } from './queue.svelte';

type Started = { id: number; reports: Reports; wasStopped: boolean; wasDropped: boolean };

/** A queue whose transfers only move when the test says so. */
function queueOf(count: number, bytes = '12345', size = 5 << 20) {
  const started: Started[] = [];
  const ended: Upload[] = [];
  const queue = new Queue(
    (upload, reports) => {
      const transfer: Started = { id: upload.id, reports, wasStopped: false, wasDropped: false };
      started.push(transfer);
      return { stop: () => (transfer.wasStopped = true), drop: () => (transfer.wasDropped = true) };
    },
    (upload) => ended.push({ ...upload }),
  );
  const file = (index: number) => Object.defineProperty(new File([bytes], `${index}`), 'size', { value: size });
  queue.add(Array.from({ length: count }, (_, index) => ({ file: file(index), path: `${index}` })));
  return { queue, started, ended };
}

test('five run at a time, in order, and the next begins when one ends', () => {
  const { queue, started } = queueOf(8);
  expect(started.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
  started[1]!.reports.ended('stored');
  started[0]!.reports.failed('no room');
  expect(started.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(queue.totals).toMatchObject({ running: PARALLEL, waiting: 1, stored: 1, failed: 1 });
});

test('more run at a time when they are small, and a large one waits for its turn', () => {
  const { queue, started } = queueOf(12, 'x', 1);
  expect(started).toHaveLength(PARALLEL_SMALL);
  expect([...queue.upcoming()].map(({ id }) => id)).toEqual([11, 12]);
  queue.add([{ file: Object.defineProperty(new File([], 'large'), 'size', { value: 2 << 20 }), path: 'large' }]);
  for (let ended = 0; ended < 7; ended += 1) started[ended]!.reports.ended('stored');
  expect(started).toHaveLength(12);
  expect(queue.totals).toMatchObject({ running: 5, waiting: 1 });
  started[7]!.reports.ended('stored');
  expect(started).toHaveLength(13);
});

test('what came of them is counted, and what can be undone', () => {
  const { queue, started } = queueOf(4);
  started[0]!.reports.checked(3);
  expect(queue.list[0]!.checkedBytes).toBe(3);
  started[0]!.reports.ended('placed', 9);
  started[1]!.reports.ended('skipped');
  expect(queue.list[0]).toMatchObject({ state: 'placed', newVersion: 9, checkedBytes: undefined });
  expect(queue.totals).toMatchObject({ placed: 1, skipped: 1, newVersions: 1, running: 2 });
  started[2]!.reports.checked(3);
  queue.pause(3);
  expect(queue.list[2]!.checkedBytes).toBeUndefined();
  queue.clear();
  expect(queue.totals).toMatchObject({ placed: 0, skipped: 0, newVersions: 0 });
});

test('the numbers tell what was sent, and what needed not be', () => {
  const { queue, started, ended } = queueOf(3);
  started[0]!.reports.sent(2);
  started[1]!.reports.ended('identical');
  started[2]!.reports.failed('too large');
  expect(queue.totals).toMatchObject({ bytes: 15 << 20, sentBytes: 2 + (5 << 20), identical: 1, failed: 1, running: 1 });
  expect(ended.map(({ state, trouble }) => [state, trouble])).toEqual([['identical', ''], ['failed', 'too large']]);
});

test('what is paused stops, leaves its place to another, and goes on from where it was', () => {
  const { queue, started } = queueOf(6);
  started[0]!.reports.sent(3);
  queue.pause(1);
  expect(started[0]!.wasStopped).toBe(true);
  expect(started.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6]);
  started[0]!.reports.sent(5);
  started[0]!.reports.ended('stored');
  expect(queue.list[0]).toMatchObject({ state: 'paused', sentBytes: 3 });
  queue.resume(1);
  expect(queue.list[0]!.state).toBe('waiting');
  started[5]!.reports.ended('stored');
  expect(started.at(-1)!.id).toBe(1);
});

test('what failed can be tried again', () => {
  const { queue, started } = queueOf(1);
  started[0]!.reports.failed('cut off');
  queue.resume(1);
  expect(queue.list[0]).toMatchObject({ state: 'running', trouble: '' });
  expect(started).toHaveLength(2);
});

test('pausing everything starts nothing', () => {
  const { queue, started } = queueOf(7);
  queue.pauseAll();
  expect(started).toHaveLength(5);
  expect(queue.totals).toMatchObject({ paused: 7, running: 0 });
  queue.resumeAll();
  expect(queue.totals).toMatchObject({ running: 5, waiting: 2 });
});

test('what is taken out is dropped at the server, what is complete is only cleared', () => {
  const { queue, started } = queueOf(2);
  started[1]!.reports.ended('stored');
  queue.remove(1);
  expect(started[0]!.wasDropped).toBe(true);
  expect(started[1]!.wasDropped).toBe(false);
  queue.clear();
  expect(queue.list).toEqual([]);
  expect(Object.values(queue.totals).every((number) => number === 0)).toBe(true);
});
