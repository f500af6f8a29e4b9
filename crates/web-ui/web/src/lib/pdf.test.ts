import { expect, test } from 'vitest';

import { fileAddress, heard } from './pdf';

test('what the frame may say is heard, and no more of it', () => {
  expect(heard({ kind: 'ready', more: 1 })).toEqual({ kind: 'ready' });
  expect(heard({ kind: 'opened', pages: 3 })).toEqual({ kind: 'opened', pages: 3 });
  expect(heard({ kind: 'at', page: 1 })).toEqual({ kind: 'at', page: 1 });
  expect(heard({ kind: 'failed', reason: 'password' })).toEqual({ kind: 'failed', reason: 'password' });
  expect(heard({ kind: 'pressed', key: 'Escape' })).toEqual({ kind: 'pressed', key: 'Escape' });
  expect(heard({ kind: 'wants', name: '90ms-RKSJ-H.bcmap' })).toEqual({ kind: 'wants', name: '90ms-RKSJ-H.bcmap' });
});

test('nothing else is', () => {
  const said = [
    undefined,
    null,
    'ready',
    {},
    { kind: 'open' },
    { kind: 'opened', pages: '3' },
    { kind: 'opened', pages: 0 },
    { kind: 'opened', pages: 1.5 },
    { kind: 'at', page: -1 },
    { kind: 'at', page: Infinity },
    { kind: 'failed', reason: '<b>' },
    { kind: 'pressed', key: 'Delete' },
    ...['../../api/v1/me', 'a/b.wasm', 'x.js', '.wasm', 'x.wasm?', 'x.wasm\n', `${'x'.repeat(50)}.pfb`].map((name) => ({ kind: 'wants', name })),
  ];
  for (const one of said) expect(heard(one), JSON.stringify(one)).toBeUndefined();
  expect(fileAddress('x.wasm')).toBe('/pdf/data/x.wasm');
});
