import { expect, test } from 'vitest';

import { shown } from './format';
import { previewKind, savedPreviewKind, shownText } from './preview';

test('the extension says how a file is shown', () => {
  expect(previewKind('a.JPG')).toBe('image');
  expect(previewKind('film.webm')).toBe('video');
  expect(previewKind('song.flac')).toBe('audio');
  expect(previewKind('x.svg')).toBe('text');
  expect(previewKind('Makefile')).toBe('text');
  expect(previewKind('x.PDF')).toBe('pdf');
  for (const name of ['x.exe', 'x', 'x.constructor']) expect(previewKind(name)).toBeUndefined();
});

test('of a snapshot nothing is shown that would be played while it comes', () => {
  expect(['a.jpg', 'a.pdf', 'a.txt'].map(savedPreviewKind)).toEqual(['image', 'pdf', 'text']);
  for (const name of ['a.mp4', 'a.mp3', 'a.exe']) expect(savedPreviewKind(name)).toBeUndefined();
});

test('text keeps its lines and shows what hides', () => {
  expect(shownText('a\r\n\tb\u202ec\u0000', shown)).toBe('a\n\tb\\u{202e}c\\u{0}');
});
