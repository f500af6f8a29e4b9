import { expect, test } from 'vitest';

import { isNarrowed, queryOf, read, written, type Wanted } from './search';

const NOTHING: Wanted = { text: '', kind: '', size: '', age: '' };

test('an address says what is looked for, and nothing else is believed', () => {
  const wanted: Wanted = { text: 'a & b', kind: 'image', size: '100M', age: 'week' };
  expect(written(wanted)).toBe('q=a%20%26%20b&kind=image&size=100M&changed=week');
  expect(read(`?${written(wanted)}`)).toEqual(wanted);
  expect(read('?kind=constructor&size=2M&changed=%3Cb%3E')).toEqual(NOTHING);
  expect(written({ ...NOTHING, text: '  ' })).toBe('');
});

test('the server is asked only for what is said', () => {
  const now = new Date(2026, 4, 20, 15, 30).getTime();
  expect(queryOf(NOTHING, now)).toEqual({});
  expect(queryOf({ text: ' x ', kind: 'folder', size: '1M', age: 'today' }, now)).toEqual({
    q: 'x',
    kind: 'folder',
    min_size: '1048576',
    after_ms: new Date(2026, 4, 20).getTime(),
  });
  expect(queryOf({ ...NOTHING, age: 'week' }, now)).toEqual({ after_ms: new Date(2026, 4, 20).getTime() - 7 * 86_400_000 });
});

test('a text alone narrows nothing', () => {
  expect([isNarrowed({ ...NOTHING, text: 'x' }), isNarrowed({ ...NOTHING, size: '1G' })]).toEqual([false, true]);
});
