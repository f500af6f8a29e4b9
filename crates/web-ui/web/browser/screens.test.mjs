// Every screen in the real browser from the real server: nothing that the Content-Security-Policy blocks, nothing that
// axe finds fault with, in light and dark, wide and at 360 pixels.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, logIn, openPage, picture, startBrowser, startServer } from './machine.mjs';

/** Address, and the heading by which the screen is known. */
const SCREENS = {
  start: ['/', 'Back up a computer'],
  settings: ['/settings', 'About'],
  security: ['/settings/security', 'Sessions'],
  devices: ['/settings/devices', 'No devices yet'],
  tokens: ['/settings/tokens', 'Tokens'],
  shares: ['/settings/shares', 'Nothing is shared'],
  search: ['/search', 'Search'],
  trash: ['/trash', 'The trash is empty'],
  'no-files': ['/files', 'Nothing in here yet'],
  'no-backups': ['/backups', 'No backups yet'],
  accounts: ['/settings/accounts', 'Accounts'],
  retention: ['/settings/retention', 'Rules'],
  server: ['/settings/server', 'Storage'],
  audit: ['/settings/audit', 'Audit log'],
  nowhere: ['/no/such/page', 'There is no such page'],
};
const FOR_STRANGERS = {
  login: ['/', 'Log in'],
  'set-up': [`/setup#${'ab'.repeat(16)}.admin`, 'Set up your account'],
  'set-up-broken': ['/setup#nothing', 'This is not a link to set up an account'],
};
const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } };

let server;
let browser;
let storageState;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  server.admin('account', 'add', 'grace', '--role', 'read-only');
  server.admin('account', 'quota', 'grace', '20GiB');
  server.admin('token', 'add', 'nightly report', '--scope', 'read');
  storageState = await logIn(server, browser);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const open = (options, path) => openPage(browser, server, path, { storageState, ...options });

async function check({ page, complaints }, screens, suffix) {
  for (const [name, [path, heading]] of Object.entries(screens)) {
    await page.goto('about:blank');
    await page.goto(path);
    await page.getByRole('heading', { name: heading, exact: true }).waitFor();
    await page.getByText('Loading…').waitFor({ state: 'detached' });
    await picture(page, `${name}-${suffix}`);
    await assertAccessible(page, name);
    await assertFits(page, name);
    assert.deepEqual(complaints, [], name);
  }
}

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ['light', 'dark']) {
    test(`every screen, ${colorScheme}, ${size}`, async () => {
      const known = await open({ viewport, colorScheme });
      await check(known, SCREENS, `${colorScheme}-${size}`);
      await known.close();
      const stranger = await open({ viewport, colorScheme, storageState: { cookies: [], origins: [] } });
      await check(stranger, FOR_STRANGERS, `${colorScheme}-${size}`);
      await stranger.close();
    });
  }
}

test('a chosen theme holds from the first paint on', async () => {
  const { page, close } = await open({ colorScheme: 'light' }, '/settings');
  await page.getByLabel('Dark').check();
  const ground = (colour) =>
    page.waitForFunction((colour) => getComputedStyle(document.documentElement).backgroundColor === colour, colour);
  await ground('rgb(20, 24, 27)');
  await page.reload({ waitUntil: 'commit' });
  await page.waitForFunction(() => document.documentElement.dataset.theme === 'dark');
  await page.getByLabel('As the system').check();
  await ground('rgb(246, 247, 248)');
  await close();
});

test('the simple mode leaves out what only experts look for, and nothing else', async () => {
  const { page, close } = await open({ viewport: SIZES.wide }, '/');
  const command = page.getByText('backup-client connect STRING');
  await command.waitFor();
  const shell = page.getByText(/backup-server enroll/);
  await shell.waitFor();
  await page.getByRole('button', { name: 'Show it simple' }).click();
  await shell.waitFor({ state: 'detached' });
  await command.waitFor();
  await page.goto('/settings');
  await page.getByRole('radio', { name: 'Simple' }).and(page.locator(':checked')).waitFor();
  const pages = page.getByRole('navigation', { name: 'Settings' }).getByRole('link');
  assert.deepEqual(await pages.allTextContents().then((all) => all.map((one) => one.trim())), [
    'General', 'Security', 'Devices', 'Tokens', 'Shares', 'Accounts', 'Retention', 'Server',
  ]);
  for (const viewport of Object.values(SIZES)) {
    await page.setViewportSize(viewport);
    for (const [name, [path, heading]] of Object.entries(SCREENS)) {
      await page.goto(path);
      await page.getByRole('heading', { name: heading, exact: true }).waitFor();
      await page.getByText('Loading…').waitFor({ state: 'detached' });
      assert.equal(await page.getByText(/^The same /).count(), 0, name);
      await picture(page, `simple-${name}-${viewport.width}`);
      await assertAccessible(page, name);
      await assertFits(page, name);
    }
  }
  await page.goto('/settings');
  await page.getByRole('radio', { name: 'Everything (expert)' }).check();
  await page.getByText('The same on the machine this server runs on').waitFor();
  await page.getByRole('link', { name: 'Audit log' }).waitFor();
  await close();
});

test('the keyboard reaches every page and closes what it opened', async () => {
  const { page, close } = await open({}, '/');
  await page.getByRole('heading', { name: 'Back up a computer' }).waitFor();
  await page.keyboard.press('g');
  await page.keyboard.press('e');
  await page.getByRole('heading', { name: 'Settings', level: 1 }).waitFor();
  await page.waitForURL((url) => url.pathname === '/settings');
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await page.goBack();
  await page.getByRole('heading', { name: 'Back up a computer' }).waitFor();
  await close();
});

test('the first page makes a string that connects a computer, and not for who may only read', async () => {
  const { page, close } = await open({}, '/');
  await page.getByLabel('Name of the device').fill('desk');
  await page.getByRole('button', { name: 'Make a string' }).click();
  const command = page.getByText(/^backup-client connect \S{40,}$/);
  await command.waitFor();
  await picture(page, 'start-made');
  await assertAccessible(page);
  const [, , enrolment] = (await command.textContent()).split(' ');
  await server.device('desk').run('connect', enrolment);
  await close();
  const theirs = await open({ storageState: await logIn(server, browser, 'grace') }, '/');
  await theirs.page.getByRole('heading', { name: 'Back up a computer' }).waitFor();
  assert.equal(await theirs.page.getByRole('button', { name: 'Make a string' }).count(), 0);
  await theirs.close();
});
