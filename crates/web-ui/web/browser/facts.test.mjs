// What is told of files, in the real browser: their SHA-256, wherever they came from, and what became of them lately, also as
// tables for other programs.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, logIn, openPage, picture, startBrowser, startServer } from './machine.mjs';

const CONTENT = randomBytes(5 << 20);
const SHA256 = createHash('sha256').update(CONTENT).digest('hex');

let server;
let browser;
let storageState;
let files;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  storageState = await logIn(server, browser);
  const laptop = server.device('laptop');
  await laptop.connect();
  files = join(server.folder, 'home');
  mkdirSync(files);
  writeFileSync(join(files, 'large.bin'), CONTENT);
  await laptop.run('put', join(files, 'large.bin'));
  await laptop.run('backup', files, '--chain', 'nightly');
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const open = (path, options) => openPage(browser, server, path, { storageState, ...options });

async function act(page, name, wish) {
  await page.getByRole('button', { name: `Actions for ${name}`, exact: true }).click();
  await page.getByRole('menuitem', { name: new RegExp(`^${wish}( F2| Del)?$`) }).click();
}

async function saved(page, act) {
  const [download] = await Promise.all([page.waitForEvent('download'), act()]);
  return { name: download.suggestedFilename(), text: readFileSync(await download.path(), 'utf8') };
}

for (const [size, viewport] of Object.entries({ wide: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } })) {
  for (const colorScheme of ['light', 'dark']) {
    test(`the SHA-256 of a file that a device put is found out, ${colorScheme}, ${size}`, async () => {
      const { page, close } = await open('/files', { viewport, colorScheme });
      await act(page, 'large.bin', 'Details');
      const details = page.getByRole('complementary', { name: 'Details' });
      await details.getByRole('button', { name: 'Find it out' }).waitFor();
      await picture(page, `sha256-asked-${colorScheme}-${size}`);
      await assertAccessible(page);
      await details.getByRole('button', { name: 'Find it out' }).click();
      await details.getByText(SHA256).waitFor();
      await picture(page, `sha256-${colorScheme}-${size}`);
      await assertAccessible(page);
      await assertFits(page);
      await close();
    });
  }
}

test('how far it has come is told, and it can be given up', async () => {
  const { page, close } = await open();
  await page.route('**/api/v1/sha256?**', (route) =>
    route.fulfill({ json: { sha256: null, done_bytes: 1 << 20, size: CONTENT.length } }),
  );
  await page.goto('/files');
  await act(page, 'large.bin', 'Details');
  const details = page.getByRole('complementary', { name: 'Details' });
  await details.getByRole('button', { name: 'Find it out' }).click();
  await details.getByText('1.0 MiB of 5.0 MiB read').waitFor();
  assert.equal(await details.getByRole('progressbar').getAttribute('aria-valuenow'), '20');
  await details.getByRole('button', { name: 'Cancel' }).click();
  await details.getByRole('button', { name: 'Find it out' }).waitFor();
  await close();
});

test('the SHA-256 of a file of a snapshot is found out', async () => {
  const { page, close } = await open();
  const [chain] = (await (await page.request.get('/api/v1/chains')).json()).items;
  await page.goto(`/backups/snapshot/${chain.newest.id}${files}`);
  await page.getByRole('button', { name: 'large.bin', exact: true }).click();
  const details = page.getByRole('complementary', { name: 'Details' });
  await details.getByRole('button', { name: 'Find it out' }).click();
  await details.getByText(SHA256).waitFor();
  await close();
});

test('what becomes of files is told, and saved as tables', async () => {
  const { page, close } = await open('/files');
  await page.getByRole('button', { name: 'New folder' }).click();
  await page.getByLabel('Name').fill('papers');
  await page.keyboard.press('Enter');
  await act(page, 'large.bin', 'Rename');
  await page.getByRole('dialog').getByLabel('Name').fill('renamed, twice.bin');
  await page.keyboard.press('Enter');
  await saved(page, () => act(page, 'renamed, twice.bin', 'Download'));
  await act(page, 'renamed, twice.bin', 'Share');
  await page.getByRole('dialog').getByRole('button', { name: 'Make a link' }).click();
  await page.getByRole('dialog').getByText('Copy the link now').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).last().click();
  await act(page, 'renamed, twice.bin', 'Move');
  await page.getByRole('dialog').getByRole('button', { name: 'papers' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Move', exact: true }).click();
  await page.getByText('1 item moved').waitFor();
  await act(page, 'papers', 'Move to the trash');
  await page.getByText('1 item moved to the trash').waitFor();

  await page.goto('/');
  const activity = page.getByRole('region', { name: 'Recent activity' });
  const told = (text) => activity.getByRole('listitem').filter({ hasText: text }).waitFor();
  await told('Renamed admin · large.bin to renamed, twice.bin');
  await told('Moved admin · renamed, twice.bin to papers');
  await told('Download admin · renamed, twice.bin');
  await told('Shared by a link admin · renamed, twice.bin');
  await told('Moved to the trash admin · papers');
  await picture(page, 'activity', { fullPage: true });
  await activity.getByLabel('What').selectOption('rename');
  const table = await saved(page, () => activity.getByRole('link', { name: 'Save these as CSV' }).click());
  assert.equal(table.name, 'activity.csv');
  const lines = table.text.trimEnd().split('\r\n');
  assert.match(lines[0], /^number,at,kind,account,device,name,detail,/);
  assert.equal(lines.length, 2);
  assert.match(lines[1], /^\d+,\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ,rename,admin,,large\.bin,"renamed, twice\.bin",/);
  await activity.getByLabel('What').selectOption('');
  const objects = await saved(page, () => activity.getByRole('link', { name: 'Save these as NDJSON' }).click());
  const kinds = objects.text.trimEnd().split('\n').map((line) => JSON.parse(line).kind);
  for (const kind of ['rename', 'move', 'share', 'download', 'delete', 'backup', 'login']) assert.ok(kinds.includes(kind), kind);
  await close();
});

test('the audit log is saved as a table, all of it that is asked for', async () => {
  // More than a page of it.
  for (let index = 0; index < 3; index += 1) server.admin('token', 'add', `=formula ${index}`, '--scope', 'read');
  const { page, close } = await open('/settings/audit');
  await page.getByLabel('What').selectOption('token-made');
  const table = await saved(page, () => page.getByRole('link', { name: 'Save all of these as CSV' }).click());
  assert.equal(table.name, 'audit.csv');
  const lines = table.text.trimEnd().split('\r\n');
  assert.equal(lines[0], 'number,at,actor,means,address,event,subject,detail');
  assert.equal(lines.length, 4);
  assert.ok(lines.slice(1).every((line) => line.includes(',token-made,')));
  // Nothing in it is a formula.
  assert.ok(!/(^|,)"?[=+@]/m.test(table.text), table.text);
  await page.getByLabel('What').selectOption('');
  const objects = await saved(page, () => page.getByRole('link', { name: 'Save all of these as NDJSON' }).click());
  const events = objects.text.trimEnd().split('\n').map((line) => JSON.parse(line).event);
  assert.ok(events.includes('login') && events.includes('device-enrolled') && events.includes('token-made'));
  await assertAccessible(page);
  await close();
});
