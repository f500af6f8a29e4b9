import { createHash } from 'node:crypto';

import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { KnownState, OnConflict } from './api';
import type { Upload } from './queue.svelte';
import { transfers } from './transfer';

type Options = { uploadUrl: string | null; metadata: Record<string, string>; onBeforeRequest: (request: object) => void; onUploadUrlAvailable: () => void };
const sent = vi.hoisted(() => [] as { options: Options; url: string | null }[]);
vi.mock('tus-js-client', () => ({
  DetailedError: class extends Error {},
  Upload: class {
    url: string | null = null;
    constructor(_file: File, readonly options: Options) {
      sent.push(this);
    }
    start() {}
    abort() {}
  },
}));

beforeEach(() => void (sent.length = 0));
afterEach(() => vi.unstubAllGlobals());

const BYTES = 'x'.repeat(100_000);
const SHA256 = createHash('sha256').update(BYTES).digest('hex');

/** A server that knows so much of each file, and what came of an upload to it. */
function uploadTo(first: KnownState, second: KnownState, conflict: OnConflict = 'new-version', place = () => Response.json({ outcome: 'created', version: 3 })) {
  const asked: { address: string; body: { files?: object[] } }[] = [];
  vi.stubGlobal('fetch', async (address: string, init: RequestInit) => {
    const body = JSON.parse(String(init.body));
    asked.push({ address, body });
    return address === '/api/v1/place' ? place() : Response.json({ states: [body.files[0].sha256 ? second : first] });
  });
  const file = new File([BYTES], 'a.bin', { lastModified: 7 });
  const upload: Upload = { id: 1, file, path: 'a.bin', state: 'running', sentBytes: 0, checkedBytes: undefined, newVersion: undefined, trouble: '' };
  const told: unknown[][] = [];
  const start = transfers({ onConflict: () => conflict, unfinished: () => undefined, upcoming: () => [] });
  const run = () =>
    start(upload, {
      sent: (bytes) => told.push(['sent', bytes]),
      checked: (bytes) => told.push(['checked', bytes]),
      ended: (...how) => told.push(['ended', ...how]),
      failed: (why) => told.push(['failed', why]),
    });
  return { asked, told, run, transfer: run() };
}

test('what the drive has at its place is not sent', async () => {
  const { told, asked } = uploadTo('same-size', 'identical');
  await vi.waitFor(() => expect(told.at(-1)).toEqual(['ended', 'identical']));
  expect(asked[1]!.body.files).toEqual([{ path: 'a.bin', size: 100_000, sha256: SHA256 }]);
  expect(sent).toEqual([]);
});

test('what it has elsewhere is placed', async () => {
  const { told, asked } = uploadTo('same-size-elsewhere', 'elsewhere');
  await vi.waitFor(() => expect(told.at(-1)).toEqual(['ended', 'placed']));
  expect(asked.at(-1)!.body).toEqual({ path: 'a.bin', size: 100_000, sha256: SHA256, conflict: 'new-version', mtime_ms: 7 });
  expect(sent).toEqual([]);
});

test('what was placed on top of something can be undone', async () => {
  const { told } = uploadTo('same-size', 'elsewhere', 'new-version', () => Response.json({ outcome: 'new-version', version: 8 }));
  await vi.waitFor(() => expect(told.at(-1)).toEqual(['ended', 'placed', 8]));
});

test('what is gone meanwhile is sent, and what is refused is told', async () => {
  uploadTo('same-size-elsewhere', 'elsewhere', 'new-version', () => Response.json({ detail: 'gone' }, { status: 404 }));
  await vi.waitFor(() => expect(sent).toHaveLength(1));
  const { told } = uploadTo('same-size-elsewhere', 'elsewhere', 'new-version', () => Response.json({ detail: 'no room' }, { status: 507 }));
  await vi.waitFor(() => expect(told.at(-1)).toEqual(['failed', 'no room']));
});

test('what is new is sent, without reading it first', async () => {
  for (const state of ['absent', 'different'] as const) {
    const { told } = uploadTo(state, 'absent');
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    expect(told).toEqual([]);
    sent.length = 0;
  }
});

test('where taken names are left alone nothing is read or sent', async () => {
  for (const state of ['different', 'same-size'] as const) {
    const { told } = uploadTo(state, 'identical', 'skip');
    await vi.waitFor(() => expect(told).toEqual([['ended', 'skipped']]));
  }
  expect(sent).toEqual([]);
});

test('an upload that goes on says the same key, and where it was', async () => {
  const { transfer, run } = uploadTo('absent', 'absent');
  await vi.waitFor(() => expect(sent).toHaveLength(1));
  const keyOf = ({ options }: { options: Options }, method: string) => {
    const headers: Record<string, string> = {};
    options.onBeforeRequest({ getMethod: () => method, setHeader: (name: string, value: string) => (headers[name] = value) });
    return headers['Idempotency-Key'];
  };
  transfer.stop();
  run();
  await vi.waitFor(() => expect(sent).toHaveLength(2));
  expect(keyOf(sent[1]!, 'POST')).toBe(keyOf(sent[0]!, 'POST'));
  expect(keyOf(sent[0]!, 'PATCH')).toBeUndefined();
  sent[1]!.url = '/api/v1/uploads/1';
  sent[1]!.options.onUploadUrlAvailable();
  run();
  await vi.waitFor(() => expect(sent).toHaveLength(3));
  expect(sent[2]!.options.uploadUrl).toBe('/api/v1/uploads/1');
});
