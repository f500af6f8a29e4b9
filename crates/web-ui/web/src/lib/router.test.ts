import { beforeAll, expect, test, vi } from 'vitest';

let place: typeof import('./router.svelte').place;
let address: typeof import('./router.svelte').address;

beforeAll(async () => {
  vi.stubGlobal('location', { pathname: '/', search: '' });
  vi.stubGlobal('addEventListener', () => {});
  ({ place, address } = await import('./router.svelte'));
});

test('an address is a screen and an encoded path', () => {
  for (const path of ['a%20b/50%20%25/x%2Fy', '%FF/a', '']) expect(place(address('files', path))).toEqual({ screen: 'files', path });
  expect(address()).toBe('/');
  expect(place('/')).toEqual({ screen: '', path: '' });
  expect(place('/files/a//b/')).toEqual({ screen: 'files', path: 'a/b' });
});

test('below a base, addresses begin with it', () => {
  expect(address('', '', '/backup')).toBe('/backup/');
  expect(place(address('files', 'a/b', '/backup'), '/backup')).toEqual({ screen: 'files', path: 'a/b' });
  expect(place('/backup', '/backup')).toEqual({ screen: '', path: '' });
  // Whoever comes past the proxy has none.
  expect(place('/files/a', '/backup')).toEqual({ screen: 'files', path: 'a' });
  expect(place('/backups/chain/1', '/backup')).toEqual({ screen: 'backups', path: 'chain/1' });
});
