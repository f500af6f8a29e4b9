import { expect, test } from 'vitest';

import { addressOf, ask } from './ask';

/** Never called: `npm run check` fails when the compiler takes one of these. */
export const refused = [
  // @ts-expect-error: no such address
  () => ask('get', '/api/v1/nothing'),
  // @ts-expect-error: an address that does not take the method
  () => ask('put', '/api/v1/snapshots/{id}', { path: { id: '' } }),
  // @ts-expect-error: nothing stands for a part of the address
  () => ask('get', '/api/v1/snapshots/{id}'),
  // @ts-expect-error: no such parameter
  () => ask('get', '/api/v1/snapshots', { query: { device: '' } }),
  // @ts-expect-error: a parameter that has to be said
  () => ask('get', '/api/v1/versions', { query: {} }),
  // @ts-expect-error: a body that lacks something
  () => ask('post', '/api/v1/move', { body: { from: '' } }),
  // @ts-expect-error: a body where none belongs
  () => ask('delete', '/api/v1/session', { body: {} }),
  // @ts-expect-error: no such field in the answer
  async () => (await ask('get', '/api/v1/me')).name,
  // @ts-expect-error: an address without a place that it needs
  () => addressOf('/api/v1/files/{path}', {}),
];

test('an address is filled, and asks only for what is said', () => {
  expect(addressOf('/api/v1/events', {})).toBe('/api/v1/events');
  expect(addressOf('/api/v1/snapshots/{id}', { path: { id: 'a/b' } })).toBe('/api/v1/snapshots/a%2Fb');
});
