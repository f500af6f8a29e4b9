// Who gets in, through the screens: from the first link to a second account, with a second factor, devices and tokens.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, openContext, openPage, picture, startBrowser, startServer } from './machine.mjs';

const PASSWORD = 'correct horse battery';

let server;
let browser;
/** The administrator's browser, from the set-up on. */
let context;
let page;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  ({ context, page } = await openPage(browser, server));
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** RFC 6238, written apart from the server. */
function codeOf(secret) {
  const bits = [...secret].map((sign) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(sign).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const tag = createHmac('sha1', key).update(counter).digest();
  const word = tag.readUInt32BE(tag[19] & 15) & 0x7fffffff;
  return String(word % 1_000_000).padStart(6, '0');
}

async function logIn(account, password) {
  await page.getByRole('heading', { name: 'Log in' }).waitFor();
  await page.getByRole('textbox', { name: 'Account' }).fill(account);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
}

test('the first link makes an administrator, once', async () => {
  const link = server.admin('account', 'setup-link');
  await page.goto(link);
  await page.getByLabel('Name of the account').fill('ada');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('Password, again').fill('something else');
  await page.getByRole('button', { name: 'Set up and log in' }).click();
  await page.getByText('The two are not the same').waitFor();
  await page.getByLabel('Password, again').fill(PASSWORD);
  await page.getByRole('button', { name: 'Set up and log in' }).click();
  await page.getByRole('heading', { name: 'Back up a computer' }).waitFor();
  // The secret is not kept in the address.
  await page.waitForURL((url) => url.hash === '');
  const [cookie] = await context.cookies();
  assert.deepEqual(
    [cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path],
    ['__Host-bk', true, true, 'Strict', '/'],
  );
  assert.equal(await page.evaluate(() => document.cookie), '');

  const other = await openPage(browser, server, link);
  const late = other.page;
  await late.getByLabel('Password', { exact: true }).fill('another password');
  await late.getByLabel('Password, again').fill('another password');
  await late.getByRole('button', { name: 'Set up and log in' }).click();
  await late.getByText('this link was used').waitFor();
  await other.context.close();
});

test('a second factor is asked for, and a recovery code stands in for it', async () => {
  await page.goto('/settings/security');
  await page.getByRole('button', { name: 'Set up' }).click();
  await page.getByLabel('Your password').fill(PASSWORD);
  await page.getByRole('dialog').getByRole('button', { name: 'Set up' }).click();
  await page.getByAltText('QR code for an authenticator app').waitFor();
  const secret = await page.getByRole('dialog').locator('code').textContent();
  await assertAccessible(page);
  await picture(page, 'second-factor');
  await page.getByLabel('Code', { exact: true }).fill('000000');
  await page.getByRole('button', { name: 'Confirm' }).click();
  await page.getByText('this is not the code').waitFor();
  const used = codeOf(secret);
  await page.getByLabel('Code', { exact: true }).fill(used);
  await page.getByRole('button', { name: 'Confirm' }).click();
  await page.getByRole('heading', { name: 'Recovery codes' }).waitFor();
  const codes = await page.getByRole('dialog').locator('li code').allTextContents();
  assert.equal(codes.length, 10);
  await assertAccessible(page);
  await picture(page, 'recovery-codes');
  await page.getByRole('button', { name: 'I have kept them' }).click();
  await page.getByText('10 recovery codes left').waitFor();

  await page.goto('/settings');
  await page.getByRole('button', { name: 'Log out' }).click();
  await logIn('ada', 'wrong password');
  await page.getByText('account or password are wrong').waitFor();
  await logIn('ada', PASSWORD);
  await page.getByRole('heading', { name: 'Second factor' }).waitFor();
  await assertAccessible(page);
  await picture(page, 'login-code');
  await page.getByLabel('Code', { exact: true }).fill(used);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByText('the code is wrong, or was used before').waitFor();
  await page.getByLabel('Code', { exact: true }).fill(codes[0]);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('heading', { name: 'Settings', level: 1 }).waitFor();
  await page.goto('/settings/security');
  await page.getByText('9 recovery codes left').waitFor();
});

test('a token is shown once, works, and is revoked', async () => {
  await page.goto('/settings/tokens');
  await page.getByText('No tokens yet').waitFor();
  await page.getByRole('button', { name: 'New token' }).click();
  await page.getByLabel('What it is for').fill('nightly');
  await page.getByLabel('What it may do').selectOption('Read only');
  await page.getByLabel('Your password').fill(PASSWORD);
  await picture(page, 'token-new');
  await page.getByRole('dialog').getByRole('button', { name: 'New token' }).click();
  await page.getByRole('heading', { name: 'The new token' }).waitFor();
  const token = await page.getByRole('dialog').locator('code').first().textContent();
  await assertAccessible(page);
  await picture(page, 'token-made');
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).last().click();
  const script = await openContext(browser, { ignoreHTTPSErrors: true, baseURL: server.url });
  const ask = () => script.request.get('/api/v1/me', { headers: { Authorization: `Bearer ${token}` } });
  assert.equal((await (await ask()).json()).scope, 'read');
  await page.getByRole('button', { name: 'Revoke nightly' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('nightly is revoked').waitFor();
  assert.equal((await ask()).status(), 401);
  await script.close();
});

test('a device is invited by string and QR code', async () => {
  await page.goto('/settings/devices');
  await page.getByRole('button', { name: 'Add a device' }).click();
  await page.getByLabel('Name of the device').fill('laptop');
  await page.getByRole('button', { name: 'Make a string' }).click();
  await page.getByAltText('QR code of the enrolment string').waitFor();
  const command = await page.getByRole('dialog').locator('code').textContent();
  assert.match(command, /^backup-client connect bk1:127\.0\.0\.1:\d+:/);
  await assertAccessible(page);
  await picture(page, 'device-invited');
  await page.setViewportSize({ width: 360, height: 740 });
  await picture(page, 'device-invited-phone');
  await assertFits(page);
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).last().click();
});

test('an account is added, set up by its owner, shut, and all of it is in the audit log', async () => {
  await page.goto('/settings/accounts');
  await page.getByRole('button', { name: 'Add an account' }).click();
  await page.getByLabel('Name', { exact: true }).fill('grace');
  await page.getByLabel('Quota in GiB').fill('many');
  await page.getByRole('dialog').getByRole('button', { name: 'Add' }).click();
  await page.getByText('A number of GiB, or nothing').waitFor();
  await page.getByLabel('Quota in GiB').fill('1,5');
  await page.getByRole('dialog').getByRole('button', { name: 'Add' }).click();
  await page.getByRole('heading', { name: 'A link for grace' }).waitFor();
  const link = await page.getByRole('dialog').locator('code').textContent();
  await assertAccessible(page);
  await picture(page, 'account-added');
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).last().click();

  const theirs = await openPage(browser, server, link);
  const owner = theirs.page;
  await owner.getByLabel('Password', { exact: true }).fill('grace has a password');
  await owner.getByLabel('Password, again').fill('grace has a password');
  await owner.getByRole('button', { name: 'Set up and log in' }).click();
  await owner.getByRole('heading', { name: 'Back up a computer' }).waitFor();
  await owner.goto('/settings/accounts');
  await owner.getByText('There is no such page').waitFor();
  await owner.goto('/files');
  await owner.getByText('Nothing in here yet').waitFor();

  await page.reload();
  await page.getByText('of 1.5 GiB stored').waitFor();
  await page.getByRole('button', { name: 'Actions for grace' }).click();
  await page.getByRole('menuitem', { name: 'Change' }).click();
  await page.getByLabel('Disabled: nobody gets in by it').check();
  await picture(page, 'account-change');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('grace is changed').waitFor();
  await owner.getByRole('button', { name: 'New folder' }).click();
  await owner.getByLabel('Name', { exact: true }).fill('late');
  await owner.keyboard.press('Enter');
  await owner.getByText('You were logged out').waitFor();
  await theirs.context.close();

  await page.goto('/settings/audit');
  const entries = page.getByRole('listitem');
  await entries.filter({ hasText: 'Account disabled' }).waitFor();
  await page.getByLabel('What', { exact: true }).selectOption('Second factor added');
  await entries.filter({ hasText: 'Account disabled' }).waitFor({ state: 'detached' });
  await entries.filter({ hasText: 'Second factor added' }).waitFor();
  await picture(page, 'audit-filtered');
});

test('changes from elsewhere are refused, whatever cookie comes with them', async () => {
  const folder = (headers) =>
    page.request.post('/api/v1/folder', { data: { path: 'planted' }, headers, failOnStatusCode: false });
  assert.equal((await folder({})).status(), 403, 'nobody vouches for it');
  assert.equal((await folder({ Origin: 'https://evil.example' })).status(), 403);
  const { csrf_token: token } = await (await page.request.get('/api/v1/session')).json();
  assert.equal((await folder({ Origin: 'https://evil.example', 'X-CSRF-Token': token })).status(), 403);
  assert.equal((await folder({ Origin: new URL(server.url).origin })).status(), 403, 'without the token');
  assert.equal((await folder({ Origin: new URL(server.url).origin, 'X-CSRF-Token': token })).status(), 200);
});
