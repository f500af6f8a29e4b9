import { afterEach, expect, test, vi } from 'vitest';

import { uploading } from './state.svelte';

const begun = vi.hoisted(() => [] as (string | null)[]);
vi.mock('tus-js-client', () => ({
  DetailedError: class extends Error {},
  Upload: class {
    constructor(_file: File, { uploadUrl }: { uploadUrl: string | null }) {
      begun.push(uploadUrl);
    }
    start() {}
    abort() {}
  },
}));

afterEach(() => vi.unstubAllGlobals());

test('a file goes on from where it was, also when the server is asked once more before it begins', async () => {
  const file = new File(['half of it'], 'a.bin', { lastModified: 7 });
  const part = { href: '/api/v1/uploads/1', path: 'a.bin', size: file.size, offset: 5, mtime_ms: 7, expires_ms: 0 };
  let answer = (_states: string[]) => {};
  const states = new Promise<string[]>((resolve) => (answer = resolve));
  vi.stubGlobal('fetch', async (address: string) =>
    Response.json(address === '/api/v1/uploads' ? { items: [part], next: null } : { states: await states }),
  );
  await uploading.look();
  expect(uploading.unfinished).toEqual([part]);
  uploading.queue.add([{ file, path: 'a.bin' }]);
  expect(uploading.unfinished).toEqual([]);
  await uploading.look();
  expect(uploading.unfinished).toEqual([]);
  answer(['different']);
  await vi.waitFor(() => expect(begun).toEqual([part.href]));
});
