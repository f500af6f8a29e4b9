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
  expect(place('/')).toEqual({ screen: '', path: '' });
  expect(place('/files/a//b/')).toEqual({ screen: 'files', path: 'a/b' });
});
