import { afterEach, beforeEach, expect, test, vi } from 'vitest';

const stored = new Map<string, string>();

beforeEach(() => {
  vi.resetModules();
  stored.clear();
  vi.stubGlobal('localStorage', {
    getItem: (name: string) => stored.get(name) ?? null,
    setItem: (name: string, value: string) => void stored.set(name, value),
    removeItem: (name: string) => void stored.delete(name),
  });
});
afterEach(() => vi.unstubAllGlobals());

const fresh = async () => (await import('./mode.svelte')).mode;

test('everything is shown until somebody chooses otherwise, and the browser remembers', async () => {
  const mode = await fresh();
  expect(mode.isSimple).toBe(false);
  mode.choose('simple');
  expect(mode.isSimple).toBe(true);
  expect(stored.get('mode')).toBe('simple');
  vi.resetModules();
  const next = await fresh();
  expect(next.isSimple).toBe(true);
  next.choose('full');
  expect(stored.has('mode')).toBe(false);
});

test('without storage the choice holds for the page', async () => {
  const refuse = () => {
    throw new Error('blocked');
  };
  vi.stubGlobal('localStorage', { getItem: refuse, setItem: refuse, removeItem: refuse });
  const mode = await fresh();
  expect(mode.name).toBe('full');
  mode.choose('simple');
  expect(mode.isSimple).toBe(true);
});
