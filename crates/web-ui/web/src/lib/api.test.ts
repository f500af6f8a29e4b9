import { afterEach, expect, test, vi } from 'vitest';

import { api, archiveAddress, contentAddress, joined, snapshotAddress } from './api';
import { ask, onLoggedOut, Trouble } from './ask';
import { guardWith } from './guard';

afterEach(() => vi.unstubAllGlobals());

/** A server that gives this answer to each request, and remembers what was asked. */
function server(answer: (address: URL) => Response): string[] {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (address: string) => {
    asked.push(address);
    return answer(new URL(address, 'https://server'));
  });
  return asked;
}

test('a long folder shows its first page, and then all of it', async () => {
  const names = Array.from({ length: 25_000 }, (_, index) => String(index));
  const asked = server((address) => {
    const start = Number(address.searchParams.get('cursor') ?? 0);
    const end = start + Number(address.searchParams.get('limit'));
    const items = names.slice(start, end).map((name) => ({ name, path: name, kind: 'folder' }));
    return Response.json({ items, next: end < names.length ? String(end) : null });
  });
  const shown: number[] = [];
  await api.folder('a%20b', new AbortController().signal, (items) => shown.push(items.length));
  expect(shown).toEqual([500, 25_000]);
  expect(asked[0]).toBe('/api/v1/folder?path=a%2520b&limit=500');
  expect(asked).toHaveLength(4);
});

test('a list of several pages is read to its end', async () => {
  const asked = server((address) => {
    const start = Number(address.searchParams.get('cursor') ?? 0);
    return Response.json({ items: [start, start + 1], next: start < 4 ? String(start + 2) : null });
  });
  expect(await api.versions('a%20b')).toEqual([0, 1, 2, 3, 4, 5]);
  expect(asked).toEqual(['', '&cursor=2', '&cursor=4'].map((more) => `/api/v1/versions?path=a%2520b${more}`));
});

test('chains are asked for page by page', async () => {
  const asked = server((address) => Response.json({ items: ['chain'], next: address.searchParams.has('cursor') ? null : '7' }));
  expect(await api.chains()).toHaveLength(2);
  expect(asked).toEqual(['/api/v1/chains', '/api/v1/chains?cursor=7']);
});

test('what is not wanted any more is not shown', async () => {
  const stop = new AbortController();
  server(() => {
    stop.abort();
    return Response.json({ items: [], next: '1' });
  });
  await api.trash(stop.signal, () => expect.unreachable());
});

test('a refusal says what the server said, or at least its number', async () => {
  server(() => Response.json({ detail: 'the name is taken' }, { status: 409 }));
  await expect(api.move('a', 'b')).rejects.toEqual(new Trouble(409, 'the name is taken'));
  server(() => new Response('<h1>Bad gateway</h1>', { status: 502 }));
  await expect(api.move('a', 'b')).rejects.toThrow('the server answered 502');
  vi.stubGlobal('fetch', async () => {
    throw new TypeError('network');
  });
  await expect(api.move('a', 'b')).rejects.toEqual(new Trouble(0, 'the server cannot be reached'));
});

test('names become paths', () => expect(joined(['a/b', 'ü'])).toBe('a%2Fb/%C3%BC'));

test('paths are addresses as they are, and are encoded once more behind a question mark', () => {
  const path = joined(['a b', 'c+d']);
  expect(contentAddress(path)).toBe('/api/v1/files/a%20b/c%2Bd');
  expect(contentAddress(path, 7)).toBe('/api/v1/files/a%20b/c%2Bd?version=7');
  expect(archiveAddress(['x', path])).toBe('/api/v1/zip?path=x&path=a%2520b%2Fc%252Bd');
  expect(archiveAddress([''])).toBe('/api/v1/zip?path=');
  expect(archiveAddress(['x'.repeat(8000)])).toBeUndefined();
  expect(snapshotAddress('00ff', 'content', path)).toBe('/api/v1/snapshots/00ff/content?path=a%2520b%2Fc%252Bd');
});

test('what stands for a part of an address is encoded', async () => {
  const asked = server(() => Response.json({ account: 'x', setup_link: 'x', expires_ms: 0 }));
  await api.makeSetupLink('a/b@c');
  expect(asked).toEqual(['/api/v1/accounts/a%2Fb%40c/setup-link']);
});

test('changes show the token of the session, and questions do not', async () => {
  const shown: (string | undefined)[] = [];
  vi.stubGlobal('fetch', async (_address: string, init: RequestInit) => {
    shown.push((init.headers as Record<string, string>)['X-CSRF-Token']);
    return Response.json({ items: [], version: 1 });
  });
  guardWith('token');
  await api.move('a', 'b');
  await api.tokens();
  guardWith(null);
  await api.move('a', 'b');
  expect(shown).toEqual(['token', undefined, undefined]);
});

test('each change has a key of its own, and questions have none', async () => {
  const keys: (string | undefined)[] = [];
  vi.stubGlobal('fetch', async (_address: string, init: RequestInit) => {
    keys.push((init.headers as Record<string, string>)['Idempotency-Key']);
    return Response.json({ items: [], version: 1 });
  });
  await api.move('a', 'b');
  await api.remove('a');
  await api.tokens();
  await ask('post', '/api/v1/move', { body: { from: 'a', to: 'b' }, headers: { 'Idempotency-Key': 'mine' } });
  expect(keys.map((key) => key?.length)).toEqual([32, 32, undefined, 4]);
  expect(keys[0]).not.toBe(keys[1]);
});

test('what is deleted for good goes in pieces that the server takes', async () => {
  const bodies: { ids: string[]; password: string }[] = [];
  vi.stubGlobal('fetch', async (_address: string, init: RequestInit) => {
    const body = JSON.parse(String(init.body));
    bodies.push(body);
    return Response.json({ purged: body.ids.length });
  });
  expect(await api.purge(Array.from({ length: 2500 }, (_, index) => String(index)), 'secret')).toBe(2500);
  expect(bodies.map(({ ids, password }) => [ids.length, password])).toEqual([[1000, 'secret'], [1000, 'secret'], [500, 'secret']]);
});

test('an answer without content is none, and one to a stranger says so', async () => {
  let isOver = false;
  onLoggedOut(() => {
    isOver = true;
  });
  server(() => new Response(null, { status: 204 }));
  expect(await api.logOut()).toBeUndefined();
  expect(isOver).toBe(false);
  server(() => Response.json({ detail: 'log in', type: 'urn:delta-backup:code-wanted' }, { status: 401 }));
  await expect(api.tokens()).rejects.toEqual(new Trouble(401, 'log in', 'urn:delta-backup:code-wanted'));
  expect(isOver).toBe(true);
});
