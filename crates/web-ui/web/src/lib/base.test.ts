import { expect, test } from 'vitest';

import { BASE, baseOf } from './base';

test('the base is what stands before the folder of scripts', () => {
  expect(baseOf('https://host/assets/index-1.js')).toBe('');
  expect(baseOf('https://host:8/backup/assets/index-1.js?x')).toBe('/backup');
  expect(baseOf('https://host/a/assets/b/assets/index-1.js')).toBe('/a/assets/b');
  expect(baseOf('http://127.0.0.1:5173/src/lib/base.ts')).toBe('');
  expect(BASE).toBe('');
});
