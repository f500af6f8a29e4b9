// The dashboard while things happen: a backup by the real program, an upload of which little changed, and a server that goes.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, logIn, openContext, openPage, picture, startBrowser, startServer, startSlowWay } from './machine.mjs';

const MIB = 1 << 20;
const WIDE = { width: 1280, height: 900 };
const PHONE = { width: 360, height: 740 };

let server;
let browser;
let storageState;
let page;
let complaints;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  storageState = await logIn(server, browser);
  ({ page, complaints } = await openPage(browser, server, '/', { storageState, viewport: WIDE }));
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const region = (name) => page.getByRole('region', { name });
const tile = (name, figure) => page.locator('dl > div').filter({ hasText: name }).locator('dd').first().filter({ hasText: figure });

test('the dashboard moves during a backup, and tells what it came to', async () => {
  await page.getByRole('heading', { name: 'Back up a computer' }).waitFor();
  const laptop = server.device('laptop');
  const way = await startSlowWay(server, MIB);
  await laptop.connect(way.address);
  await page.getByRole('heading', { name: 'Dashboard', level: 1 }).waitFor();
  await region('Devices').getByText('Has not backed up yet').waitFor();
  const file = join(laptop.home, 'disk.img');
  writeFileSync(file, randomBytes(96 * MIB));
  const isDone = laptop.run('backup', file);
  const line = region('On its way').getByRole('listitem').filter({ hasText: 'laptop' });
  await line.waitFor();
  await line.getByText(/[1-9][\d.]* [KM]iB(?!\/s)/).first().waitFor();
  await region('Devices').getByText('connected').waitFor();
  await line.getByText(/of 96\.0 MiB/).waitFor();
  await line.getByText(/^\d+ (s|min) left$/).waitFor();
  await tile('Came over the network', /^[1-9][\d.]* MiB/).waitFor();
  assert.ok(await line.isVisible(), 'figures move while it is on its way');
  await picture(page, 'dashboard-moving');
  way.hurry();
  await isDone;
  await region('On its way').getByText('Nothing is on its way.').waitFor();
  await region('Devices').getByText('All is well').waitFor();
  await region('Devices').getByText('Last backup just now').waitFor();
  const told = region('Recent activity').getByRole('listitem').filter({ hasText: /^.*Backup laptop/s });
  await told.getByText(/1 file, 96\.0 MiB, 9\d\.\d MiB sent, 9\d\.\d MiB stored/).waitFor();
  await tile('Backed up and uploaded', '96.0 MiB').waitFor();
  // Again, with nothing changed: all of it was here.
  await laptop.run('backup', file);
  await tile('Backed up and uploaded', '192 MiB').waitFor();
  await tile('Was here already', '96.0 MiB').waitFor();
  await picture(page, 'dashboard');
  way.stop();
  assert.deepEqual(complaints, []);
});

test('the saving of a delta upload shows', async () => {
  const token = server.admin('token', 'add', 'upload', '--scope', 'restore');
  const script = await openContext(browser, { ignoreHTTPSErrors: true, baseURL: server.url });
  const bytes = randomBytes(10 * MIB);
  const put = () => script.request.put('/api/v1/files/notes.bin', { headers: { Authorization: `Bearer ${token}` }, data: bytes });
  assert.equal((await put()).status(), 201);
  const uploads = region('Recent activity').getByRole('listitem').filter({ hasText: 'notes.bin' });
  await uploads.first().waitFor();
  randomBytes(4096).copy(bytes, 5 * MIB);
  assert.equal((await put()).status(), 200);
  await script.close();
  await uploads.nth(1).waitFor();
  const [, stored] = /10\.0 MiB, 10\.0 MiB sent, ([\d.]+) KiB stored/.exec(await uploads.first().textContent());
  assert.ok(Number(stored) <= 12, `${stored} KiB were stored`);
  await tile('Kept as deltas', /^\s*[1-9]/).waitFor();
  await page.getByLabel('What', { exact: true }).selectOption('Backup');
  await uploads.first().waitFor({ state: 'detached' });
  await page.getByLabel('What', { exact: true }).selectOption('Everything');
  await page.getByRole('textbox', { name: 'Search' }).fill('NOTES');
  await region('Recent activity').getByRole('listitem').filter({ hasText: 'laptop' }).first().waitFor({ state: 'detached' });
  await uploads.first().waitFor();
  await page.getByRole('textbox', { name: 'Search' }).fill('');
});

test('it is good to look at, for everybody', async () => {
  await page.getByRole('figure').filter({ hasText: 'Bandwidth saved' }).locator('canvas').waitFor();
  for (const [size, viewport] of Object.entries({ wide: WIDE, phone: PHONE })) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await assertFits(page);
      await assertAccessible(page);
      await picture(page, `dashboard-${colorScheme}-${size}`, { fullPage: true });
    }
  }
  await page.setViewportSize(WIDE);
  await page.getByLabel('Span').selectOption('By the day');
  await page.getByRole('figure').filter({ hasText: 'Storage' }).locator('canvas').waitFor();
  assert.deepEqual(complaints, []);
});

test('figures show where a proxy keeps the events back', async () => {
  const silent = await openPage(browser, server, undefined, { storageState, viewport: WIDE });
  await silent.page.route('**/api/v1/events*', () => {});
  await silent.page.goto('/');
  await silent.page.getByRole('heading', { name: 'Dashboard', level: 1 }).waitFor();
  await silent.page.getByRole('region', { name: 'Recent activity' }).getByText('notes.bin').first().waitFor();
  await silent.page.unrouteAll({ behavior: 'ignoreErrors' });
  await silent.close();
});

test('a server that goes is noticed', async () => {
  const going = server;
  server = undefined;
  await going.stop();
  await page.getByText('The server cannot be reached.').waitFor();
  await page.getByRole('heading', { name: 'Dashboard' }).waitFor();
  await picture(page, 'dashboard-offline');
});
