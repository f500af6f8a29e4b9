import { readFileSync, readdirSync } from 'node:fs';

import { expect, test } from 'vitest';

import { command } from './commands';

test('what is filled in is quoted', () => {
  expect(command('driveGet', { path: "it's mine; rm -rf" })).toBe(`backup-client get 'it'\\''s mine; rm -rf'`);
  expect(command('restorePath', { snapshot: '0123abcd', path: '/a b' })).toBe("backup-client restore 0123abcd:'/a b' restored");
  expect(command('retention', { rules: ['my laptop/home', '--keep-last', '3'] })).toBe(
    "backup-server retention set 'my laptop/home' --keep-last 3 --data-dir DIR",
  );
  expect(command('snapshots')).toBe('backup-client snapshots');
});

/** Only there are they held against the programs. */
test('screens show no other commands', () => {
  const source = new URL('..', import.meta.url).pathname;
  const names = readdirSync(source, { recursive: true, encoding: 'utf8' });
  const screens = names.filter((name) => name.endsWith('.svelte'));
  expect(screens.length).toBeGreaterThan(40);
  for (const name of screens) expect(readFileSync(`${source}/${name}`, 'utf8'), name).not.toMatch(/backup-(client|server)/);
});
