import { expect, test } from 'vitest';

import { shown } from './format';
import { previewKind, shownText } from './preview';

test('the extension says how a file is shown', () => {
  expect(previewKind('a.JPG')).toBe('image');
  expect(previewKind('film.webm')).toBe('video');
  expect(previewKind('song.flac')).toBe('audio');
  expect(previewKind('x.svg')).toBe('text');
  expect(previewKind('Makefile')).toBe('text');
  expect(previewKind('x.PDF')).toBe('pdf');
  for (const name of ['x.exe', 'x', 'x.constructor']) expect(previewKind(name)).toBeUndefined();
});

test('text keeps its lines and shows what hides', () => {
  expect(shownText('a\r\n\tb\u202ec\u0000', shown)).toBe('a\n\tb\\u{202e}c\\u{0}');
});
