import { expect, test } from 'vitest';

import { filtered, folded } from './filter';

const rows = (...names: string[]) => names.map((name) => ({ name }));
const found = (text: string, ...names: string[]) => filtered(rows(...names), text).map(({ name }) => name);

test('neither case nor marks matter', () => {
  expect(['Übersicht', 'U\u0308ber', 'Straße', 'ŁÓDŹ', 'ﬁle', 'İ', 'Æther'].map(folded)).toEqual(['ubersicht', 'uber', 'strasse', 'lodz', 'file', 'i', 'aether']);
  expect(found('UBER', 'Übersicht.pdf', 'over.pdf')).toEqual(['Übersicht.pdf']);
  expect(found('é', 'cafe.txt', 'caf.txt')).toEqual(['cafe.txt']);
});

test('each word has to be there, in any order', () => {
  expect(found(' jpg  Beach', 'beach 1.JPG', 'beach.png', 'x.jpg')).toEqual(['beach 1.JPG']);
  expect(found('.', 'a.b', 'ab')).toEqual(['a.b']);
});

test('nothing typed leaves the list as it is', () => {
  const all = rows('a', 'b');
  expect(filtered(all, '  ')).toBe(all);
});

test('of 100,000 names, those that match are left in their order', () => {
  const many = rows(...Array.from({ length: 100_000 }, (_, index) => `Bild ä ${index}.jpg`));
  expect(filtered(many, 'a 9999').map(({ name }) => name).slice(0, 3)).toEqual(['Bild ä 9999.jpg', 'Bild ä 19999.jpg', 'Bild ä 29999.jpg']);
  expect(filtered(many, 'a 9999')).toHaveLength(19);
});
