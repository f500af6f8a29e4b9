import { expect, test } from 'vitest';

import { folderOf, inside, namesOf } from './text';

test('paths come apart and together', () => {
  expect(namesOf('a%20b/c%2525/%FF')).toEqual(['a b', 'c%25', '%FF']);
  expect(namesOf('')).toEqual([]);
  expect([folderOf('a/b/c'), folderOf('a')]).toEqual(['a/b', '']);
  expect([inside('', 'a'), inside('a/b', 'c')]).toEqual(['a', 'a/b/c']);
});
