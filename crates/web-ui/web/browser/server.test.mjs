// How the server is doing, as an administrator sees it in the browser: health, upkeep, storage, and whom an older catalog keeps
// out until somebody confirms them.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, logIn, openPage, picture, startBrowser, startServer } from './machine.mjs';

let server;
let browser;
let storageState;
let laptop;
let files;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  storageState = await logIn(server, browser);
  laptop = server.device('laptop');
  await laptop.connect();
  files = join(server.folder, 'home');
  mkdirSync(files);
  writeFileSync(join(files, 'note.txt'), 'a note');
  await laptop.run('backup', files, '--chain', 'home');
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const open = (path, options) => openPage(browser, server, path, { storageState, ...options });
const card = (page, name) => page.getByRole('region', { name, exact: true });

test('health, upkeep and storage are told in plain words', async () => {
  const { page, close } = await open('/settings/server');
  const health = card(page, 'Health');
  await health.getByText('New backups · new backups are accepted').waitFor();
  await health.getByText('Clock · it is believed').waitFor();
  await health.getByText('Deletion · space of what nobody needs comes back').waitFor();
  const upkeep = card(page, 'Upkeep');
  const fact = (name) => upkeep.locator('dt', { hasText: name }).locator('xpath=following-sibling::dd[1]');
  assert.equal((await fact('Last verification').textContent()).trim(), 'None yet');
  server.admin('verify');
  server.admin('gc');
  server.admin('catalog', 'backup');
  await health.getByRole('button', { name: 'Look again' }).click();
  await fact('Last verification').getByText(/\d+ packs, \d+ bytes; 0 packs damaged, 0 objects lost/).waitFor();
  await fact('Last collection of garbage').getByText(/0 packs deleted/).waitFor();
  assert.match(await fact('Last backup of the catalog').textContent(), /^\s*\d{4}-\d\d-\d\d \d\d:\d\d\s*$/);
  assert.ok(Number(await fact('Generation of the catalog').textContent()) > 0);

  const storage = card(page, 'Storage');
  await storage.getByText(join(server.folder, 'data')).waitFor();
  await storage.getByText('Packs of content').waitFor();
  const vault = storage.getByRole('listitem').filter({ hasText: 'admin / default' });
  await vault.getByText(/^1 snapshot · /).waitFor();
  // It is remembered when the server is started again.
  await server.restart(() => {});
  await page.reload();
  await fact('Last verification').getByText(/0 objects lost/).waitFor();
  await close();
});

test('who is kept out by an older catalog is let in by an administrator who says the password', async () => {
  server.admin('token', 'add', 'report', '--scope', 'read');
  server.admin('catalog', 'backup');
  // Something that the backup does not know.
  writeFileSync(join(files, 'note.txt'), 'another note');
  await laptop.run('backup', files, '--chain', 'home');
  await server.restart(() => {
    server.admin('catalog', 'restore');
    server.admin('reindex');
  });
  storageState = await logIn(server, browser);
  const { page, complaints, close } = await open('/');
  const alert = card(page, 'What needs a look').getByRole('listitem').filter({ hasText: 'Devices kept out because an older catalog knows them: 1.' });
  await alert.getByText('backup-server device confirm').waitFor();
  for (const colorScheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme });
    await picture(page, `dashboard-alerts-${colorScheme}`);
    await assertAccessible(page, colorScheme);
  }
  await page.goto('/settings/server');
  await card(page, 'Health').getByText('Devices · 1 kept out since the catalog was put back').waitFor();
  const waiting = card(page, 'Kept out by an older catalog');
  await waiting.getByRole('listitem').filter({ hasText: 'laptop' }).waitFor();
  await waiting.getByRole('listitem').filter({ hasText: 'report' }).waitFor();
  await picture(page, 'server-waiting', { fullPage: true });
  await assertAccessible(page);
  await waiting.getByRole('button', { name: 'Confirm laptop' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Your password').fill('not this one');
  await dialog.getByRole('button', { name: 'Confirm' }).click();
  await dialog.getByText("the account's password is another").waitFor();
  // The browser complains of what was refused, as it was to be.
  assert.equal(complaints.splice(0).length, 1);
  await dialog.getByLabel('Your password').fill(server.passwords.admin);
  await dialog.getByRole('button', { name: 'Confirm' }).click();
  await waiting.getByRole('listitem').filter({ hasText: 'laptop' }).waitFor({ state: 'detached' });
  assert.doesNotMatch(server.admin('device', 'list'), /suspended/);
  assert.match(server.admin('token', 'list'), /suspended/);
  await waiting.getByRole('button', { name: 'Confirm all' }).click();
  await dialog.getByLabel('Your password').fill(server.passwords.admin);
  await dialog.getByRole('button', { name: 'Confirm' }).click();
  await waiting.waitFor({ state: 'detached' });
  assert.doesNotMatch(server.admin('token', 'list'), /suspended/);
  await page.goto('/');
  await page.getByRole('heading', { name: 'Dashboard' }).waitFor();
  assert.equal(await alert.count(), 0);
  await page.goto('/settings/audit');
  await page.getByRole('listitem').filter({ hasText: 'Tokens confirmed' }).first().waitFor();
  await close();
});

for (const [size, viewport] of Object.entries({ wide: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } })) {
  for (const colorScheme of ['light', 'dark']) {
    test(`a server that is not well says what to do, ${colorScheme}, ${size}`, async () => {
      const { page, close } = await open(undefined, { viewport, colorScheme });
      // What no test brings about: the server's own answer, with all that may be wrong in it.
      await page.route('**/api/v1/server', async (route) => {
        const answer = await route.fetch();
        const report = JSON.parse(await answer.text());
        const spoil = { clock: ['bad', 'it went back by 3 hours', 'put the clock right'], deletion: ['bad', 'the catalog was older', 'reindex'] };
        report.clock_doubt = 'it went back by 3 hours';
        report.checks = report.checks.map((check) => {
          const [state, text, hint] = spoil[check.name] ?? [check.state, check.text, check.hint];
          return { ...check, state, text, hint };
        });
        report.storage.reserve_bytes = 64 << 20;
        report.storage.is_reserve_held = false;
        await route.fulfill({ response: answer, json: report });
      });
      await page.goto('/settings/server');
      const health = card(page, 'Health');
      await health.getByText('things need a look.').waitFor();
      // The worst stands first.
      assert.match(await health.getByRole('listitem').first().textContent(), /^\s*Bad/);
      await page.getByText('64.0 MiB should be, and are in use: make room').waitFor();
      await picture(page, `server-${colorScheme}-${size}`, { fullPage: true });
      await assertAccessible(page);
      await assertFits(page);
      await health.getByRole('button', { name: 'The clock is right now' }).click();
      await page.getByRole('dialog').getByLabel('Your password').fill(server.passwords.admin);
      const [asked] = await Promise.all([
        page.waitForRequest('**/api/v1/server/confirm'),
        page.getByRole('dialog').getByRole('button', { name: 'Confirm' }).click(),
      ]);
      assert.equal(asked.postDataJSON().what, 'clock');
      await page.getByText('Confirmed', { exact: true }).waitFor();
      await page.unrouteAll({ behavior: 'ignoreErrors' });
      await close();
    });
  }
}

test('it is not for everybody', async () => {
  server.admin('account', 'add', 'grace', '--role', 'member');
  const { page, context } = await openPage(browser, server, '/settings/server', { storageState: await logIn(server, browser, 'grace') });
  await page.getByRole('heading', { name: 'There is no such page' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Server', exact: true }).count(), 0);
  await context.close();
});
