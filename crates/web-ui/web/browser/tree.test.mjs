// The tree of folders beside the list, in the real browser: the drive, and beside it the snapshots of each device as folders.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, logIn, openPage, picture, startBrowser, startServer } from './machine.mjs';

let server;
let browser;
let storageState;
/** Names of the folders above what was backed up. */
let above;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  const laptop = server.device('laptop');
  await laptop.connect();
  const files = join(server.folder, 'home');
  mkdirSync(join(files, 'plans/garden'), { recursive: true });
  writeFileSync(join(files, 'plans/garden/tulips.txt'), 'tulips');
  await laptop.run('backup', files, '--chain', 'nightly');
  await laptop.run('put', join(files, 'plans'), '--to', 'papers');
  await laptop.run('put', join(files, 'plans/garden/tulips.txt'));
  above = files.split('/').filter((part) => part !== '');
  storageState = await logIn(server, browser);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const open = (path, options) => openPage(browser, server, path, { storageState, viewport: { width: 1366, height: 800 }, ...options });
const tree = (page) => page.getByRole('tree', { name: 'Folders' });
const item = (page, name) => tree(page).getByRole('treeitem', { name, exact: true });
/** Opens or closes a branch, without going there. */
const twist = (page, name) => item(page, name).locator('.twist').click();
const listed = (page, name) => page.getByRole('grid').getByRole('button', { name, exact: true });

test('folders of the drive are gone through in the tree', async () => {
  const { page, close } = await open('/files');
  await item(page, 'papers').waitFor();
  // Only folders are in it.
  assert.equal(await item(page, 'tulips.txt').count(), 0);
  await twist(page, 'papers');
  await item(page, 'plans').click();
  await listed(page, 'garden').waitFor();
  assert.equal(new URL(page.url()).pathname, '/files/papers/plans');
  assert.equal(await item(page, 'plans').getAttribute('aria-selected'), 'true');
  assert.equal(await item(page, 'plans').getAttribute('aria-level'), '3');
  // What is opened in the list is followed.
  await listed(page, 'garden').click();
  await item(page, 'garden').and(page.locator('[aria-selected=true]')).waitFor();
  // And what comes and goes in the list.
  await page.goto('/files/papers');
  await page.getByRole('button', { name: 'New folder' }).click();
  await page.getByLabel('Name').fill('new one');
  await page.keyboard.press('Enter');
  await item(page, 'new one').waitFor();
  await close();
});

test('snapshots are folders beside the drive', async () => {
  const { page, close } = await open('/files');
  await twist(page, 'Backups');
  await item(page, 'laptop').click();
  await item(page, 'nightly').click();
  const snapshot = tree(page).getByRole('treeitem', { name: /^\d{4}-\d\d-\d\d \d\d:\d\d$/ });
  await snapshot.click();
  await page.getByLabel('Search names in this snapshot').waitFor();
  assert.match(new URL(page.url()).pathname, /^\/backups\/snapshot\/[0-9a-f]{64}$/);
  // Down to the file, by the tree alone; the drive is still there.
  for (const name of [...above, 'plans']) {
    const folder = item(page, name);
    await folder.locator('.text').click();
    await folder.and(page.locator('[aria-selected=true][aria-expanded=true]')).waitFor();
  }
  await item(page, 'garden').locator('.text').click();
  await listed(page, 'tulips.txt').waitFor();
  await item(page, 'papers').waitFor();
  await picture(page, 'tree-snapshot');
  // Whoever comes there by its address sees where that is.
  await page.reload();
  await item(page, 'garden').and(page.locator('[aria-selected=true]')).waitFor();
  await item(page, 'laptop').waitFor();
  await close();
});

test('the tree is worked by keyboard', async () => {
  const { page, close } = await open('/files');
  await item(page, 'papers').waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim());
  await item(page, 'Drive').focus();
  const press = async (key, expected) => {
    await page.keyboard.press(key);
    await page.waitForFunction((text) => document.activeElement?.textContent?.trim() === text, expected);
  };
  await press('ArrowDown', 'papers');
  await press('ArrowRight', 'papers');
  await item(page, 'plans').waitFor();
  await press('ArrowRight', 'new one');
  await press('ArrowDown', 'plans');
  await page.keyboard.press('Enter');
  await listed(page, 'garden').waitFor();
  // Whoever goes to a folder has opened it.
  await press('ArrowLeft', 'plans');
  await press('ArrowLeft', 'papers');
  await press('ArrowLeft', 'papers');
  await item(page, 'plans').waitFor({ state: 'detached' });
  await press('End', 'Backups');
  await press('Home', 'Drive');
  assert.equal(await focused(), 'Drive');
  // One stop of the Tab key, however long it is.
  assert.equal(await tree(page).locator('[tabindex="0"]').count(), 1);
  await close();
});

test('the tree is put away, which is remembered, and is not there on a phone', async () => {
  const { page, context, close } = await open('/files');
  await tree(page).waitFor();
  await page.getByRole('button', { name: 'Hide the tree of folders' }).click();
  await tree(page).waitFor({ state: 'detached' });
  await page.reload();
  await listed(page, 'papers').waitFor();
  assert.equal(await tree(page).count(), 0);
  await page.getByRole('button', { name: 'Show the tree of folders' }).click();
  await tree(page).waitFor();
  await page.setViewportSize({ width: 360, height: 740 });
  await tree(page).waitFor({ state: 'hidden' });
  await assertFits(page);
  assert.ok(context);
  await close();
});

for (const [size, viewport] of Object.entries({ laptop: { width: 1280, height: 800 }, wide: { width: 1680, height: 900 } })) {
  for (const colorScheme of ['light', 'dark']) {
    test(`the tree leaves room for the list, ${colorScheme}, ${size}`, async () => {
      const { page, close } = await open('/files/papers', { viewport, colorScheme });
      await item(page, 'plans').waitFor();
      await picture(page, `tree-${colorScheme}-${size}`);
      await assertAccessible(page);
      await assertFits(page);
      await page.goto('/files');
      await page.getByRole('button', { name: 'Actions for tulips.txt' }).click();
      await page.getByRole('menuitem', { name: 'Details' }).click();
      await page.getByRole('complementary', { name: 'Details' }).waitFor();
      await picture(page, `tree-details-${colorScheme}-${size}`);
      await assertFits(page);
      assert.equal(await tree(page).isVisible(), viewport.width >= 1600);
      await close();
    });
  }
}
