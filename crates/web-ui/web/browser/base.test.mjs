// The application below a path, as a proxy that has other things to show puts it: nothing is asked for beside that path.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { logIn, openPage, startBrowser, startServer } from './machine.mjs';

const BASE = '/to/backup';
const PDF = `%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj
trailer<</Root 1 0 R>>
`;

let server;
let browser;
let storageState;

before(async () => {
  [server, browser] = await Promise.all([startServer('--base-path', BASE), startBrowser()]);
  storageState = await logIn(server, browser);
  const laptop = server.device('laptop');
  await laptop.connect();
  const home = join(server.folder, 'home');
  mkdirSync(home);
  writeFileSync(join(home, 'note.txt'), 'a note');
  await laptop.run('backup', home, '--chain', 'home');
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A page that is told of everything it asks the server for. */
async function open(path, options) {
  const opened = await openPage(browser, server, undefined, { storageState, ...options });
  const beside = [];
  opened.page.on('request', (request) => {
    const { protocol, pathname } = new URL(request.url());
    if (protocol === 'https:' && !pathname.startsWith(`${BASE}/`)) beside.push(pathname);
  });
  await opened.page.goto(`${BASE}${path}`);
  return { ...opened, close: async () => (await opened.close(), assert.deepEqual(beside, [])) };
}

const isAt = (page, path) => page.waitForURL((url) => url.pathname === BASE + path);

test('the screens are at addresses below it, and reload there', async () => {
  const { page, close } = await open('/');
  const menu = page.getByRole('navigation').first();
  await page.getByText('Dashboard').first().waitFor();
  for (const [name, path] of [['Files', '/files'], ['Backups', '/backups'], ['Trash', '/trash'], ['Settings', '/settings']]) {
    await menu.getByRole('link', { name }).click();
    await isAt(page, path);
    await page.reload();
    await isAt(page, path);
  }
  await page.goto(`${BASE}/backups`);
  await page.getByRole('link', { name: 'home', exact: true }).click();
  await page.getByRole('region', { name: 'Snapshots' }).getByRole('link').first().click();
  await page.waitForURL((url) => url.pathname.startsWith(`${BASE}/backups/snapshot/`));
  await page.getByRole('navigation', { name: 'Where this is' }).getByRole('link', { name: 'Backups' }).click();
  await isAt(page, '/backups');
  await page.goBack();
  await page.waitForURL((url) => url.pathname.startsWith(`${BASE}/backups/snapshot/`));
  await page.keyboard.press('/');
  await isAt(page, '/search');
  await close();
});

test('files go up, are looked at and shared below it', async () => {
  const { page, context, close } = await open('/files');
  await page.locator('input[type=file][multiple]').setInputFiles([
    { name: 'a.txt', mimeType: 'text/plain', buffer: Buffer.from('some text') },
    { name: 'b.pdf', mimeType: 'application/pdf', buffer: Buffer.from(PDF) },
    // Longer than what comes with its announcement.
    { name: 'c.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(9 << 20, 'x') },
  ]);
  await page.getByText('Everything is uploaded').waitFor();
  await page.getByRole('button', { name: 'a.txt', exact: true }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('some text').waitFor();
  await page.keyboard.press('ArrowRight');
  await dialog.getByText('Page 1 of 1').waitFor();
  await page.keyboard.press('Escape');

  await page.getByRole('button', { name: 'Actions for a.txt' }).click();
  await page.getByRole('menuitem', { name: 'Share' }).click();
  await dialog.getByRole('button', { name: 'Make a link' }).click();
  await dialog.getByRole('img', { name: 'QR code of the link' }).waitFor();
  const link = await dialog.locator('pre').first().textContent();
  assert.match(new URL(link).pathname, new RegExp(`^${BASE}/s/[0-9a-f]{32}$`));
  const stranger = await open(new URL(link).pathname.slice(BASE.length), { storageState: { cookies: [], origins: [] } });
  const [download] = await Promise.all([
    stranger.page.waitForEvent('download'),
    stranger.page.getByRole('link', { name: 'Download' }).click(),
  ]);
  assert.equal(readFileSync(await download.path(), 'utf8'), 'some text');
  await stranger.close();

  const manifest = await (await context.request.get(`${BASE}/manifest.webmanifest`)).json();
  const at = (address) => new URL(address, `${server.url}manifest.webmanifest`).pathname;
  assert.deepEqual([at(manifest.start_url), at(manifest.scope)], [`${BASE}/`, `${BASE}/`]);
  for (const icon of manifest.icons) assert.ok((await context.request.get(at(icon.src))).ok(), icon.src);
  await close();
});

test('a link to set an account up is below it', async () => {
  const link = server.admin('account', 'setup-link');
  assert.ok(link.startsWith(`${server.url}setup#`), link);
  const { pathname, hash } = new URL(link);
  const { page, close } = await open(pathname.slice(BASE.length) + hash, { storageState: { cookies: [], origins: [] } });
  await page.getByRole('heading', { name: 'Set up your account' }).waitFor();
  await close();
});
