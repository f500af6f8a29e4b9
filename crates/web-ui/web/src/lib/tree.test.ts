import { expect, test } from 'vitest';

import { keysAbove, rowsOf, wishOf, type Branch, type Inside } from './tree';

const none = () => Promise.resolve([]);
const branch = (key: string): Branch => ({ key, text: key, icon: 'folder', to: `/${key}`, children: none });
const ROOTS: Branch[] = [branch('drive'), { key: 'backups', text: 'backups', icon: 'archive', children: none }];
const INSIDE = new Map<string, Inside>([
  ['drive', { branches: [branch('a'), { key: 'b', text: 'b', icon: 'folder', to: '/b' }] }],
  ['a', { branches: [branch('a/x')] }],
]);
const rows = (...open: string[]) => rowsOf(ROOTS, new Set(open), INSIDE);

test('only what is open is in sight', () => {
  expect(rows().map((row) => row.branch.key)).toEqual(['drive', 'backups']);
  // Open within something that is closed.
  expect(rows('a').map((row) => row.branch.key)).toEqual(['drive', 'backups']);
  const all = rows('drive', 'a');
  expect(all.map((row) => [row.branch.key, row.level, row.place, row.siblings])).toEqual([
    ['drive', 1, 1, 2],
    ['a', 2, 1, 2],
    ['a/x', 3, 1, 1],
    ['b', 2, 2, 2],
    ['backups', 1, 2, 2],
  ]);
});

test('keys move as in trees of other programs', () => {
  const all = rows('drive', 'a');
  const wish = (key: string, at: string) => wishOf(key, all, at);
  expect(wish('ArrowDown', 'a')).toEqual({ go: 'a/x' });
  expect(wish('ArrowUp', 'b')).toEqual({ go: 'a/x' });
  expect(wish('ArrowUp', 'drive')).toEqual({ go: 'drive' });
  expect(wish('ArrowDown', 'backups')).toEqual({ go: 'backups' });
  expect(wish('End', 'a')).toEqual({ go: 'backups' });
  // Right opens, then goes in; left closes, then goes out.
  expect(wish('ArrowRight', 'backups')).toEqual({ open: 'backups' });
  expect(wish('ArrowRight', 'a')).toEqual({ go: 'a/x' });
  expect(wish('ArrowRight', 'b')).toEqual({ go: 'b' });
  expect(wish('ArrowLeft', 'a')).toEqual({ close: 'a' });
  expect(wish('ArrowLeft', 'a/x')).toEqual({ go: 'a' });
  expect(wish('ArrowLeft', 'b')).toEqual({ go: 'drive' });
  expect(wish('Enter', 'a')).toEqual({ follow: '/a' });
  expect(wish(' ', 'backups')).toEqual({ open: 'backups' });
  expect(wish('x', 'a')).toBeUndefined();
  expect(wish('End', 'gone')).toBeUndefined();
});

test('what is above a folder is known by its path', () => {
  expect(keysAbove('drive:', '')).toEqual(['drive:']);
  expect(keysAbove('drive:', 'a/b')).toEqual(['drive:', 'drive:a', 'drive:a/b']);
});
