import { createHash } from 'node:crypto';

import { expect, test } from 'vitest';

import { digest } from './digest';

test('bytes have the same SHA-256 in whatever pieces they come', async () => {
  const bytes = Uint8Array.from({ length: 300_000 }, (_, at) => (at * 7919) % 251);
  const expected = createHash('sha256').update(bytes).digest('hex');
  for (const len of [300_000, 65_536, 64, 1000]) {
    let at = 0;
    const told: number[] = [];
    const stream = new ReadableStream<Uint8Array>({
      pull: (to) => {
        if (at >= bytes.length) return to.close();
        to.enqueue(bytes.subarray(at, (at += len)));
      },
    });
    expect(await digest(stream, (read) => told.push(read))).toBe(expected);
    expect(told.at(-1)).toBe(300_000);
  }
  expect(await digest(new Blob([]).stream(), () => {})).toBe(createHash('sha256').digest('hex'));
});
