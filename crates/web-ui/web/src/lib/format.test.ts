import { expect, test } from 'vitest';

import { ago, bytes, counted, quoted, remaining, shown } from './format';

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1536, '1.5 KiB'],
  [102_400, '100 KiB'],
  [1_048_575, '1.0 MiB'],
  [1024 ** 3 * 3, '3.0 GiB'],
  [2 ** 53, '8.0 PiB'],
])('%d bytes are %s', (count, text) => expect(bytes(count)).toBe(text));

test('one of a thing is not many', () => {
  expect(counted(1, 'file', 'files')).toBe('1 file');
  expect(counted(1200, 'file', 'files')).toBe('1,200 files');
});

test('times past, and clocks that run ahead', () => {
  const now = 10 * 86_400_000;
  expect(ago(now - 61_000, now)).toBe('1 minute ago');
  expect(ago(now - 2 * 86_400_000, now)).toBe('2 days ago');
  expect(ago(now + 5000, now)).toBe('just now');
});

test('time left', () => {
  expect(remaining(59.2)).toBe('1 min');
  expect(remaining(7500)).toBe('2 h 5 min');
  expect(remaining(Infinity)).toBe('');
});

test('names cannot change how the page reads', () => {
  expect(shown('a\u202egnp.exe')).toBe('a\\u{202e}gnp.exe');
  expect(shown('a\nb\u0000')).toBe('a\\u{a}b\\u{0}');
  expect(shown('Ünïcode 日本.txt')).toBe('Ünïcode 日本.txt');
});

test('words for a shell', () => {
  expect(quoted('/a/b.txt')).toBe('/a/b.txt');
  expect(quoted("it's $HOME")).toBe("'it'\\''s $HOME'");
  expect(quoted('')).toBe("''");
});
