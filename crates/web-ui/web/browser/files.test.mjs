// The drive through its screens, against the real server: what a person does with files, and what then is there.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, dropOn, logIn, openPage, picture, startBrowser, startServer } from './machine.mjs';

/** A red square, 2 × 2. */
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg==';

let server;
let browser;
let storageState;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  storageState = await logIn(server, browser);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const open = (path, options) => openPage(browser, server, path, { storageState, ...options });

/** Chooses files as the button Upload would have a person do. */
async function upload(page, files) {
  await page.locator('input[type=file][multiple]').setInputFiles(files);
  await page.getByText('Everything is uploaded').waitFor();
}

const row = (page, name) => page.getByRole('row', { name: new RegExp(`^Select ${name.replaceAll(/[.()]/g, '\\$&')} `) });

/** Shows the details of a file that a click would open. */
async function showDetails(page, name) {
  await row(page, name).getByRole('button', { name: `Actions for ${name}` }).click();
  await page.getByRole('menuitem', { name: 'Details' }).click();
}

test('files go up, are listed, come down the same, and a second time are known', async () => {
  const { page, close } = await open('/files');
  await page.getByText('Nothing in here yet').waitFor();
  await picture(page, 'files-empty');
  const bytes = randomBytes(3 << 20);
  const file = { name: 'a b%ü.bin', mimeType: 'application/octet-stream', buffer: bytes };
  await upload(page, [file, { name: 'small.txt', mimeType: 'text/plain', buffer: Buffer.from('hello\n') }]);
  await page.getByRole('button', { name: 'a b%ü.bin', exact: true }).click();
  const details = page.getByRole('complementary', { name: 'Details' });
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  await details.getByText(sha256).waitFor();
  const [download] = await Promise.all([page.waitForEvent('download'), details.getByRole('link', { name: 'Download' }).click()]);
  assert.equal(download.suggestedFilename(), 'a b%ü.bin');
  assert.ok(bytes.equals(readFileSync(await download.path())), 'what came down is what went up');
  await page.getByRole('button', { name: 'Close' }).last().click();
  await page.locator('input[type=file][multiple]').setInputFiles([file]);
  await page.getByText('1 file already there').waitFor();
  const [list] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Save this list as CSV' }).click()]);
  assert.equal(list.suggestedFilename(), 'uploads.csv');
  const lines = readFileSync(await list.path(), 'utf8').split('\r\n');
  assert.equal(lines[0], 'name,bytes,outcome,reason');
  assert.ok(lines.includes(`a b%ü.bin,${3 << 20},identical,`), lines.join('\n'));
  // Beside the place for them, files are not opened in place of the application.
  const isKept = await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(['x'], 'x.txt'));
    const drop = new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer });
    document.querySelector('nav').dispatchEvent(drop);
    return drop.defaultPrevented;
  });
  assert.ok(isKept);
  await close();
});

test('an upload that a page began goes on in the next, from where it was', async () => {
  const path = join(server.folder, 'large.bin');
  const bytes = randomBytes(5 << 20);
  writeFileSync(path, bytes);
  const { page, context } = await open('/files');
  // The connection breaks under the first page, again and again; what the server has by then stays.
  let isBroken = true;
  let partIsThere;
  const hasPart = new Promise((resolve) => (partIsThere = resolve));
  const offsets = [];
  await context.route('**/api/v1/uploads/*', async (route) => {
    const request = route.request();
    if (request.method() === 'PATCH') offsets.push(Number(request.headers()['upload-offset']));
    if (!isBroken || request.method() !== 'PATCH') return route.continue();
    const part = bytes.subarray(0, 2 << 20);
    const headers = { ...request.headers(), 'content-length': String(part.length) };
    if (offsets.length === 1) {
      await route.fetch({ postData: part, headers });
      partIsThere();
    }
    await route.abort('connectionreset');
  });
  await page.locator('input[type=file][multiple]').setInputFiles(path);
  const panel = page.getByRole('region', { name: 'Uploads' });
  await panel.getByRole('button', { name: 'Pause', exact: true }).waitFor();
  await hasPart;
  await panel.getByRole('button', { name: 'Pause', exact: true }).click();
  await page.reload();
  await panel.getByText('1 file not complete').waitFor();
  await picture(page, 'uploads-unfinished');
  await assertAccessible(page);
  // Only now: the first page may have been about to try again.
  isBroken = false;
  offsets.length = 0;
  const [chooser] = await Promise.all([
    page.waitForEvent('filechooser'),
    panel.getByRole('button', { name: 'Choose large.bin again' }).click(),
  ]);
  await chooser.setFiles(path);
  await page.getByText('Everything is uploaded').waitFor();
  assert.deepEqual(offsets, [2 << 20], 'only the rest was sent');
  await row(page, 'large.bin').waitFor();
  const stored = await context.request.get('/api/v1/files/large.bin');
  assert.ok(bytes.equals(await stored.body()), 'the file is what was chosen');
  await context.unrouteAll({ behavior: 'ignoreErrors' });
  // The browser complains of connections that broke, as they were to.
  await context.close();
});

test('a content that is on the drive is not sent again, wherever it goes', async () => {
  const { page, close } = await open('/files');
  const bytes = randomBytes(9 << 20);
  const [first, second] = ['first', 'second'].map((name) => join(server.folder, `${name}.bin`));
  for (const path of [first, second]) writeFileSync(path, bytes);
  await upload(page, first);
  const sent = [];
  page.on('request', (request) => request.url().includes('/api/v1/uploads') && sent.push(request.method()));
  const panel = page.getByRole('region', { name: 'Uploads' });
  await upload(page, second);
  await panel.getByText('1 file already stored, not sent').waitFor();
  assert.deepEqual(sent, []);
  const stored = await page.request.get('/api/v1/files/second.bin');
  assert.ok(bytes.equals(await stored.body()), 'the file is what was chosen');
  await row(page, 'second.bin').waitFor();
  await close();
});

test('an upload is undone in its row, and names that are taken are skipped', async () => {
  const { page, close } = await open('/files');
  const send = (text) => upload(page, [{ name: 'again.txt', mimeType: 'text/plain', buffer: Buffer.from(text) }]);
  const stored = async () => (await page.request.get('/api/v1/files/again.txt')).text();
  await send('one');
  await row(page, 'again.txt').waitFor();
  await send('one, changed');
  const panel = page.getByRole('region', { name: 'Uploads' });
  await panel.getByText('1 file with a new version').waitFor();
  await panel.getByRole('button', { name: 'Show all' }).click();
  await picture(page, 'uploads-undo');
  await assertAccessible(page);
  await panel.getByRole('button', { name: 'Undo: bring back the version of again.txt before this one' }).click();
  await page.getByText('The old version is the newest again').waitFor();
  assert.equal(await stored(), 'one');
  await page.getByRole('button', { name: 'What to upload' }).click();
  await page.getByRole('menuitemradio', { name: 'An existing file stays, skip the new one' }).click();
  await send('one, changed again');
  await panel.getByText('1 file skipped').waitFor();
  assert.equal(await stored(), 'one');
  const [list] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Save this list as CSV' }).click()]);
  assert.match(readFileSync(await list.path(), 'utf8'), /^again.txt,18,skipped,\r$/m);
  await close();
});

test('a folder that was on its way when the page was left is complete when it is chosen again', async () => {
  const folder = join(server.folder, 'voyage');
  const contents = new Map([['long.bin', randomBytes(6 << 20)]]);
  for (const sub of ['one', 'two', 'three/deep']) {
    mkdirSync(join(folder, sub), { recursive: true });
    for (let number = 0; number < 4; number += 1) contents.set(`${sub}/${number}.bin`, randomBytes(1000 + 40_000 * number));
  }
  for (const [path, bytes] of contents) writeFileSync(join(folder, path), bytes);
  const { page, context } = await open('/files');
  // Of the first page's files some arrive, some are not begun, and of the long one only a part comes through.
  let isBroken = true;
  let whenStuck;
  const isStuck = new Promise((resolve) => (whenStuck = resolve));
  let arrived = 0;
  let wasCut = false;
  const offsets = [];
  await context.route(/\/api\/v1\/uploads(\/.*)?$/, async (route) => {
    const request = route.request();
    const headers = request.headers();
    if (request.method() === 'POST') {
      const path = Buffer.from(/path ([^,]+)/.exec(headers['upload-metadata'])[1], 'base64').toString();
      assert.match(headers['idempotency-key'] ?? '', /^[0-9a-f]{32}$/, path);
      if (!isBroken || path.endsWith('long.bin')) return route.continue();
      arrived += 1;
      return arrived <= 5 ? route.continue() : route.abort('connectionreset');
    }
    if (request.method() !== 'PATCH') return route.continue();
    if (!isBroken) {
      offsets.push(Number(headers['upload-offset']));
      return route.continue();
    }
    const part = contents.get('long.bin').subarray(0, 2 << 20);
    if (!wasCut) {
      wasCut = true;
      await route.fetch({ postData: part, headers: { ...headers, 'content-length': String(part.length) } });
      whenStuck();
    }
    await route.abort('connectionreset');
  });
  await page.locator('input[webkitdirectory]').setInputFiles(folder);
  await isStuck;
  const panel = page.getByRole('region', { name: 'Uploads' });
  await panel.getByRole('button', { name: 'Pause all' }).click();
  await page.reload();
  await panel.getByText('1 file not complete').waitFor();
  isBroken = false;
  await page.locator('input[webkitdirectory]').setInputFiles(folder);
  await page.getByText('Everything is uploaded').waitFor();
  assert.deepEqual(offsets, [2 << 20], 'of the long one only the rest was sent');
  const listed = async (path) => {
    const answer = await context.request.get(`/api/v1/folder?path=${encodeURIComponent(path)}`);
    const found = [];
    for (const { kind, path } of (await answer.json()).items) found.push(...(kind === 'folder' ? await listed(path) : [path]));
    return found;
  };
  const paths = await listed('voyage');
  assert.deepEqual(paths.sort(), [...contents.keys()].map((path) => `voyage/${path}`).sort(), 'nothing is missing or there twice');
  const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');
  for (const [path, bytes] of contents) {
    const stored = await context.request.get(`/api/v1/files/voyage/${path}`);
    assert.equal(hash(await stored.body()), hash(bytes), path);
    const versions = await context.request.get(`/api/v1/versions?path=${encodeURIComponent(`voyage/${path}`)}`);
    assert.equal((await versions.json()).items.length, 1, path);
  }
  await context.unrouteAll({ behavior: 'ignoreErrors' });
  // The browser complains of connections that broke, as they were to.
  await context.close();
});

test('a folder comes down as an archive', async () => {
  const { page, close } = await open('/files');
  const folder = join(server.folder, 'zipped');
  mkdirSync(folder);
  writeFileSync(join(folder, 'in it.txt'), 'in the archive');
  await page.locator('input[webkitdirectory]').setInputFiles(folder);
  await page.getByText('Everything is uploaded').waitFor();
  await row(page, 'zipped').getByRole('button', { name: 'Actions for zipped' }).click();
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('menuitem', { name: 'Download as ZIP' }).click(),
  ]);
  assert.equal(download.suggestedFilename(), 'zipped.zip');
  const archive = readFileSync(await download.path());
  assert.ok(archive.includes('zipped/in it.txt') && archive.includes('in the archive'));
  await close();
});

test('a folder keeps its structure, and an upload in it makes a version that can be brought back', async () => {
  const { page, close } = await open('/files');
  const folder = join(server.folder, 'holiday');
  mkdirSync(join(folder, 'deep/er'), { recursive: true });
  writeFileSync(join(folder, 'one.txt'), 'one\n');
  writeFileSync(join(folder, 'deep/er/two.txt'), 'two\n');
  await page.locator('input[webkitdirectory]').setInputFiles(folder);
  await page.getByText('Everything is uploaded').waitFor();
  await page.getByRole('button', { name: 'holiday', exact: true }).click();
  await page.getByRole('button', { name: 'one.txt', exact: true }).waitFor();
  await upload(page, [{ name: 'one.txt', mimeType: 'text/plain', buffer: Buffer.from('one, changed\n') }]);
  await showDetails(page, 'one.txt');
  const details = page.getByRole('complementary', { name: 'Details' });
  await details.getByText('newest').waitFor();
  await assertAccessible(page);
  await picture(page, 'files-details');
  await details.getByRole('button', { name: /Make the version of/ }).click();
  await page.getByText('The old version is the newest again').waitFor();
  await details.getByRole('listitem').nth(2).waitFor();
  const [download] = await Promise.all([page.waitForEvent('download'), details.getByRole('link', { name: 'Download' }).first().click()]);
  assert.equal(readFileSync(await download.path(), 'utf8'), 'one\n');
  await page.goto('/files/holiday/deep/er');
  await page.getByRole('button', { name: 'two.txt', exact: true }).waitFor();
  await close();
});

test('folders are made, things renamed and moved, all by keyboard', async () => {
  const { page, close } = await open('/files');
  await row(page, 'small.txt').waitFor();
  await page.getByRole('button', { name: 'New folder' }).click();
  await page.getByLabel('Name').fill('small.txt');
  await page.keyboard.press('Enter');
  await page.getByText('There is something of this name').waitFor();
  await page.getByLabel('Name').fill('päpers');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'päpers', exact: true }).waitFor();
  await row(page, 'small.txt').getByRole('gridcell').nth(2).click();
  await page.getByRole('grid').focus();
  await page.keyboard.press('F2');
  await page.getByRole('dialog').locator('input:focus').waitFor();
  await picture(page, 'files-rename');
  await page.keyboard.type('renamed');
  await page.keyboard.press('Enter');
  await row(page, 'renamed.txt').waitFor();
  await page.getByRole('button', { name: 'Move', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'päpers' }).click();
  await picture(page, 'files-move');
  await page.getByRole('dialog').getByRole('button', { name: 'Move', exact: true }).click();
  await page.getByText('1 item moved').waitFor();
  await row(page, 'renamed.txt').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'päpers', exact: true }).click();
  await row(page, 'renamed.txt').waitFor();
  await close();
});

test('what is removed can be undone at once, and brought back from the trash later', async () => {
  const { page, close } = await open('/files/p%C3%A4pers');
  await row(page, 'renamed.txt').getByRole('gridcell').nth(2).click();
  await page.getByRole('grid').focus();
  await page.keyboard.press('Delete');
  await page.getByText('1 item moved to the trash').waitFor();
  await page.getByRole('button', { name: 'Undo' }).click();
  await row(page, 'renamed.txt').waitFor();
  await row(page, 'renamed.txt').getByRole('button', { name: 'Actions for renamed.txt' }).click();
  await page.getByRole('menuitem', { name: /Move to the trash/ }).click();
  await row(page, 'renamed.txt').waitFor({ state: 'detached' });
  await page.goto('/trash');
  await page.getByText('from päpers').waitFor();
  await assertAccessible(page);
  await picture(page, 'trash');
  await page.getByRole('button', { name: 'Bring back' }).click();
  await page.getByText('päpers/renamed.txt is back').waitFor();
  await page.goto('/files/p%C3%A4pers');
  await row(page, 'renamed.txt').waitFor();
  await close();
});

test('what was done with files is undone, and what cannot be is told', async () => {
  const { page, complaints, close } = await open('/files');
  const folder = join(server.folder, 'undone');
  mkdirSync(join(folder, 'sub'), { recursive: true });
  for (const name of ['a.txt', 'sub/x.txt']) writeFileSync(join(folder, name), name);
  await page.locator('input[webkitdirectory]').setInputFiles(folder);
  await page.getByText('Everything is uploaded').waitFor();
  await page.goto('/files/undone');
  const act = async (name, text) => {
    await row(page, name).getByRole('button', { name: `Actions for ${name}` }).click();
    await page.getByRole('menuitem', { name: text }).click();
  };
  const undo = async () => {
    await page.getByRole('button', { name: 'Undo', exact: true }).click();
    await page.getByText('Undone', { exact: true }).last().waitFor();
  };
  await act('a.txt', /Rename/);
  await page.getByLabel('Name', { exact: true }).fill('b.txt');
  await page.keyboard.press('Enter');
  await page.getByText('a.txt is called b.txt now').waitFor();
  await row(page, 'b.txt').waitFor();
  await undo();
  await row(page, 'a.txt').waitFor();
  for (const [text, said, button] of [['Move', '1 item moved', 'Move'], ['Copy to…', '1 item copied', 'Copy here']]) {
    await page.getByRole('menuitem').first().waitFor({ state: 'detached' });
    await row(page, 'a.txt').getByRole('button', { name: 'Actions for a.txt' }).click();
    await page.getByRole('menuitem', { name: text, exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'sub' }).click();
    await page.getByRole('dialog').getByRole('button', { name: button, exact: true }).click();
    await page.getByText(said, { exact: true }).waitFor();
    const there = await page.request.get('/api/v1/files/undone/sub/a.txt');
    assert.equal(await there.text(), 'a.txt');
    await undo();
    await row(page, 'a.txt').waitFor();
    assert.equal((await page.request.get('/api/v1/files/undone/sub/a.txt')).status(), 404, said);
  }
  // The keyboard reaches it without leaving the list.
  await row(page, 'a.txt').getByRole('gridcell').nth(2).click();
  await page.getByRole('grid').focus();
  await page.keyboard.press('Delete');
  await page.getByText('1 item moved to the trash').waitFor();
  await row(page, 'a.txt').waitFor({ state: 'detached' });
  await assertAccessible(page);
  await page.keyboard.press('Control+z');
  await row(page, 'a.txt').waitFor();
  await act('a.txt', /Move to the trash/);
  await row(page, 'a.txt').waitFor({ state: 'detached' });
  await page.locator('input[type=file][multiple]').setInputFiles({ name: 'a.txt', mimeType: 'text/plain', buffer: Buffer.from('another') });
  await row(page, 'a.txt').waitFor();
  await page.getByRole('button', { name: 'Undo', exact: true }).click();
  await page.getByRole('alert').filter({ hasText: 'a.txt: ' }).waitFor();
  assert.equal(await (await page.request.get('/api/v1/files/undone/a.txt')).text(), 'another');
  // The browser complains of what was refused, as it was to be.
  assert.equal(complaints.splice(0).length, 1);
  await close();
});

test('of two removed from one place, the older comes back, and the other beside it', async () => {
  const { page, complaints, close } = await open('/files');
  for (const text of ['older', 'newer']) {
    await upload(page, [{ name: 'twice.txt', mimeType: 'text/plain', buffer: Buffer.from(text) }]);
    await row(page, 'twice.txt').getByRole('button', { name: 'Actions for twice.txt' }).click();
    await page.getByRole('menuitem', { name: /Move to the trash/ }).click();
    await row(page, 'twice.txt').waitFor({ state: 'detached' });
  }
  await page.goto('/trash');
  const item = page.getByRole('listitem').filter({ hasText: 'twice.txt' });
  await item.nth(1).waitFor();
  await item.nth(1).getByRole('button', { name: 'Bring back' }).click();
  await page.getByText('twice.txt is back').waitFor();
  const older = await page.request.get('/api/v1/files/twice.txt');
  assert.equal(await older.text(), 'older');
  await item.nth(1).waitFor({ state: 'detached' });
  await item.getByRole('button', { name: 'Bring back' }).click();
  await item.getByText('Something else has its name now.').waitFor();
  await picture(page, 'trash-taken');
  await assertAccessible(page);
  await item.getByRole('button', { name: 'Bring back beside it' }).click();
  await page.getByText('twice (1).txt is back').waitFor();
  const newer = await page.request.get('/api/v1/files/twice%20(1).txt');
  assert.equal(await newer.text(), 'newer');
  // The browser complains of what was refused, as it was to be.
  assert.equal(complaints.splice(0).length, 1);
  await close();
});

test('several come back from the trash at once, folders before what was in them', async () => {
  const { page, close } = await open('/files');
  const folder = join(server.folder, 'several');
  mkdirSync(folder);
  for (const name of ['a.txt', 'b.txt']) writeFileSync(join(folder, name), name);
  await page.locator('input[webkitdirectory]').setInputFiles(folder);
  await page.getByText('Everything is uploaded').waitFor();
  await page.goto('/files/several');
  const remove = async (name) => {
    await row(page, name).getByRole('button', { name: `Actions for ${name}` }).click();
    await page.getByRole('menuitem', { name: /Move to the trash/ }).click();
    await row(page, name).waitFor({ state: 'detached' });
  };
  await remove('a.txt');
  await page.goto('/files');
  await remove('several');
  await page.goto('/trash');
  await page.getByRole('checkbox', { name: 'Select several/a.txt' }).check();
  await page.getByRole('checkbox', { name: 'Select several', exact: true }).check();
  await page.getByText('2 items selected').waitFor();
  await picture(page, 'trash-selected');
  await page.getByRole('button', { name: 'Bring back the selected' }).click();
  await page.getByText('2 items are back').waitFor();
  await page.goto('/files/several');
  await row(page, 'a.txt').waitFor();
  await row(page, 'b.txt').waitFor();
  await close();
});

test('what is in the trash is deleted for good, with the password, by whom the server lets', async () => {
  server.admin('account', 'add', 'hopper');
  const theirs = await logIn(server, browser, 'hopper');
  server.admin('account', 'role', 'hopper', 'admin');
  const { page, complaints, close } = await open('/files', { storageState: theirs, viewport: { width: 360, height: 740 } });
  const texts = ['one.txt', 'two.txt', 'three.txt'];
  await upload(page, texts.map((name) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(name) })));
  for (const name of texts) {
    await row(page, name).getByRole('button', { name: `Actions for ${name}` }).click();
    await page.getByRole('menuitem', { name: /Move to the trash/ }).click();
    await row(page, name).waitFor({ state: 'detached' });
  }
  await page.goto('/trash');
  await page.getByRole('button', { name: 'Empty the trash' }).waitFor();
  await page.getByRole('button', { name: 'Delete two.txt for good' }).click();
  const dialog = page.getByRole('dialog');
  await picture(page, 'trash-purge');
  await assertAccessible(page);
  await assertFits(page);
  await dialog.getByLabel('Your password').fill('something else');
  await page.keyboard.press('Enter');
  await dialog.locator('.complaint').waitFor();
  // The browser complains of what was refused, as it was to be.
  assert.equal(complaints.splice(0).length, 1);
  await dialog.getByLabel('Your password').fill(server.passwords.hopper);
  await page.keyboard.press('Enter');
  await page.getByText('1 item deleted for good').waitFor();
  await page.getByRole('listitem').filter({ hasText: 'two.txt' }).waitFor({ state: 'detached' });
  await page.getByRole('checkbox', { name: 'Select one.txt' }).check();
  await page.getByRole('button', { name: 'Delete the selected for good' }).click();
  await dialog.getByLabel('Your password').fill(server.passwords.hopper);
  await dialog.getByRole('button', { name: 'Delete for good' }).click();
  await page.getByRole('listitem').filter({ hasText: 'one.txt' }).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Empty the trash' }).click();
  await dialog.getByLabel('Your password').fill(server.passwords.hopper);
  await dialog.getByRole('button', { name: 'Delete for good' }).click();
  await page.getByText('The trash is empty').waitFor();
  server.admin('account', 'role', 'hopper', 'member');
  await page.goto('/files');
  await upload(page, [{ name: 'one.txt', mimeType: 'text/plain', buffer: Buffer.from('one') }]);
  await row(page, 'one.txt').getByRole('button', { name: 'Actions for one.txt' }).click();
  await page.getByRole('menuitem', { name: /Move to the trash/ }).click();
  await row(page, 'one.txt').waitFor({ state: 'detached' });
  await page.goto('/trash');
  await page.getByRole('button', { name: 'Bring back' }).waitFor();
  assert.equal(await page.getByRole('button', { name: /for good|Empty/ }).count(), 0);
  await close();
});

test('who may only read sees nothing that would be refused', async () => {
  server.admin('account', 'add', 'grace');
  const token = server.admin('token', 'add', 'fill', '--account', 'grace', '--scope', 'admin');
  const headers = { Authorization: `Bearer ${token}` };
  const { context } = await open(undefined);
  for (const path of ['kept.txt', 'removed.txt']) await context.request.put(`/api/v1/files/${path}`, { data: path, headers });
  await context.request.delete('/api/v1/files/removed.txt', { headers });
  await context.close();
  server.admin('account', 'role', 'grace', 'read-only');
  const theirs = await logIn(server, browser, 'grace');
  const { page, close } = await open('/files', { storageState: theirs });
  await row(page, 'kept.txt').waitFor();
  const names = async (scope) => (await scope.evaluateAll((found) => found.map((one) => one.getAttribute('aria-label') || one.textContent.trim()))).sort();
  const controls = () => names(page.getByRole('main').getByRole('button'));
  assert.deepEqual(await controls(), ['Actions for kept.txt', 'Changed', 'Copy', 'Hide the tree of folders', 'Name', 'Size', 'kept.txt']);
  await row(page, 'kept.txt').getByRole('button', { name: 'Actions for kept.txt' }).click();
  await page.getByRole('menuitem', { name: 'Details' }).waitFor();
  assert.deepEqual(await names(page.getByRole('menuitem')), ['Details', 'Download']);
  await page.keyboard.press('Escape');
  await row(page, 'kept.txt').getByRole('checkbox').check();
  await page.getByText('1 item selected').waitFor();
  await picture(page, 'files-read-only');
  for (const name of ['Move', 'Copy to…', 'Move to the trash', 'New folder', 'Upload']) {
    assert.equal(await page.getByRole('button', { name, exact: true }).count(), 0, name);
  }
  await page.getByRole('grid').focus();
  await page.keyboard.press('Delete');
  await page.keyboard.press('F2');
  const transfer = await page.evaluateHandle(() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File(['x'], 'x.txt'));
    return transfer;
  });
  await page.dispatchEvent('.whole', 'drop', { dataTransfer: transfer });
  await page.getByText('This account may only read: nothing can be uploaded').first().waitFor();
  assert.equal(await page.getByRole('dialog').count(), 0);
  await page.goto('/trash');
  await page.getByText('removed.txt').waitFor();
  assert.equal(await page.getByRole('button', { name: /Bring back/ }).count(), 0);
  assert.equal(await page.getByRole('checkbox').count(), 0);
  await picture(page, 'trash-read-only');
  await close();
});

test('what becomes of a file that is there is chosen, and remembered', async () => {
  const { page, close } = await open('/files');
  const send = (text) => upload(page, [{ name: 'both.txt', mimeType: 'text/plain', buffer: Buffer.from(text) }]);
  await send('one');
  await page.getByRole('button', { name: 'What to upload' }).click();
  await page.getByRole('menuitemradio', { name: 'An existing file gets a new version', checked: true }).waitFor();
  await picture(page, 'uploads-conflict');
  await page.getByRole('menuitemradio', { name: 'An existing file stays, keep both' }).click();
  await page.reload();
  await row(page, 'both.txt').waitFor();
  await send('two');
  await row(page, 'both (1).txt').waitFor();
  assert.equal(await (await page.request.get('/api/v1/files/both.txt')).text(), 'one');
  assert.equal(await (await page.request.get('/api/v1/files/both%20(1).txt')).text(), 'two');
  await page.getByRole('button', { name: 'What to upload' }).click();
  await page.getByRole('menuitemradio', { name: 'An existing file stays, keep both', checked: true }).waitFor();
  await close();
});

test('files are copied to another folder, and pasted', async () => {
  const { page, close } = await open('/files');
  await row(page, 'small.txt').or(row(page, 'both.txt')).first().waitFor();
  await row(page, 'both.txt').getByRole('button', { name: 'Actions for both.txt' }).click();
  await page.getByRole('menuitem', { name: 'Copy to…' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'holiday' }).click();
  await picture(page, 'files-copy');
  await page.getByRole('dialog').getByRole('button', { name: 'Copy here' }).click();
  await page.getByText('1 item copied').waitFor();
  await row(page, 'both.txt').waitFor();
  assert.equal(await (await page.request.get('/api/v1/files/holiday/both.txt')).text(), 'one');
  await page.evaluate(() => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File(['pasted'], 'pasted.txt'));
    document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
  });
  await row(page, 'pasted.txt').waitFor();
  await close();
});

test('links to a file stand in its details, and end there', async () => {
  const { page, close } = await open('/files');
  await row(page, 'both.txt').getByRole('button', { name: 'Actions for both.txt' }).click();
  await page.getByRole('menuitem', { name: 'Share' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Make a link' }).click();
  await page.getByText('Copy the link now').waitFor();
  await page.keyboard.press('Escape');
  await showDetails(page, 'both.txt');
  const details = page.getByRole('complementary', { name: 'Details' });
  await details.getByText('Links to this').waitFor();
  await picture(page, 'files-details-links');
  await details.getByRole('button', { name: /Revoke the link/ }).click();
  await details.getByText('Links to this').waitFor({ state: 'detached' });
  await close();
});

test('a selection that no address holds comes as one archive', async () => {
  const { page, close } = await open('/files');
  const folder = join(server.folder, 'many');
  mkdirSync(folder);
  const name = (number) => `a file with a name of some length, of which there are many ${number}.txt`;
  for (let number = 0; number < 120; number += 1) writeFileSync(join(folder, name(number)), '');
  await page.locator('input[webkitdirectory]').setInputFiles(folder);
  await page.getByText('Everything is uploaded').waitFor();
  await page.goto('/files/many');
  await page.getByRole('checkbox', { name: 'Select all' }).check();
  await page.getByText('120 items selected').waitFor();
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Download as ZIP' }).click(),
  ]);
  assert.equal(download.suggestedFilename(), 'files.zip');
  const archive = readFileSync(await download.path());
  for (const number of [0, 119]) assert.ok(archive.includes(name(number)));
  await close();
});

test('files are dropped', async () => {
  const { page, close } = await open('/files');
  await page.getByRole('grid').waitFor();
  const transfer = await page.evaluateHandle(() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File(['dropped\n'], 'dropped.txt'));
    return transfer;
  });
  await page.dispatchEvent('.whole', 'dragover', { dataTransfer: transfer });
  await page.getByText('Drop to upload here').waitFor();
  await page.dispatchEvent('.whole', 'drop', { dataTransfer: transfer });
  await row(page, 'dropped.txt').waitFor();
  await close();
});

test('a folder is dropped, with all that is in it', async () => {
  const { page, close } = await open('/files');
  // The list within has a part of the same name.
  await page.locator('.whole:not([role])').waitFor();
  const folder = join(server.folder, 'holidays');
  mkdirSync(join(folder, 'day 1', 'empty'), { recursive: true });
  writeFileSync(join(folder, 'plan.txt'), 'sleep\n');
  for (let number = 0; number < 130; number += 1) writeFileSync(join(folder, 'day 1', `${number}.txt`), `${number}\n`);
  await dropOn(page, folder);
  await page.getByText('Everything is uploaded').waitFor();
  await page.goto('/files/holidays/day%201');
  await row(page, '0.txt').waitFor();
  const listed = await page.evaluate(async () => {
    const folders = ['holidays', 'holidays/day%201'].map(encodeURIComponent);
    const items = folders.map(async (path) => (await (await fetch(`/api/v1/folder?path=${path}`)).json()).items.length);
    return Promise.all(items);
  });
  assert.deepEqual(listed, [2, 131]);
  await close();
});

test('a long folder is narrowed by what is typed, and its end is reached', async () => {
  const { page, context, close } = await open(undefined);
  const COUNT = 30_000;
  const name = (number) => (number % 1000 === 0 ? `Übersicht ${number}.txt` : `file ${String(number).padStart(5, '0')}.txt`);
  await context.route(/\/api\/v1\/folder\?path=long&/, (route) => {
    const query = new URL(route.request().url()).searchParams;
    const start = Number(query.get('cursor') ?? 0);
    const end = Math.min(COUNT, start + Number(query.get('limit')));
    const items = Array.from({ length: end - start }, (_, offset) => {
      const one = name(start + offset);
      return { kind: 'file', name: one, path: `long/${encodeURIComponent(one)}`, size: 1, version: 1, mtime_ms: 0 };
    });
    return route.fulfill({ json: { items, next: end < COUNT ? String(end) : null } });
  });
  await page.goto('/files/long');
  const status = page.getByRole('status').filter({ hasText: /of 30,000$/ });
  const filter = page.getByRole('searchbox', { name: 'Filter this folder' });
  await row(page, 'file 00001.txt').waitFor();
  await page.waitForFunction((count) => document.querySelector('[role=grid]').getAttribute('aria-rowcount') === String(count), COUNT + 1);
  await page.getByRole('grid').focus();
  await page.keyboard.press('End');
  await row(page, 'Übersicht 29000.txt').waitFor();
  assert.ok((await page.getByRole('row').count()) < 100, 'only rows in sight are elements');
  for (const at of [0.3, 0.7, 0.5]) {
    const place = await page.locator('.view').evaluate((view, at) => (view.scrollTop = Math.round((view.scrollHeight * at) / 48) * 48), at);
    // Names that begin with Ü stand behind all others.
    const expected = Array.from({ length: COUNT }, (_, number) => number).filter((number) => number % 1000 !== 0)[place / 48 + 2];
    await row(page, name(expected)).waitFor();
    assert.ok((await page.getByRole('row').count()) < 100);
  }
  await page.keyboard.press('f');
  await page.waitForFunction(() => document.activeElement?.id === 'filter');
  await page.keyboard.type('UBER 2');
  await status.waitFor();
  assert.equal(await status.textContent(), '12 of 30,000');
  await row(page, 'Übersicht 29000.txt').waitFor();
  await row(page, 'file 00001.txt').waitFor({ state: 'detached' });
  await picture(page, 'files-filter');
  await assertAccessible(page);
  await filter.fill('no such thing');
  await page.getByText('Nothing in this folder has such a name').waitFor();
  await filter.press('Escape');
  await row(page, 'file 00001.txt').waitFor();
  assert.equal(await filter.inputValue(), '');
  await filter.fill('29');
  await page.getByRole('link', { name: 'Drive' }).click();
  await page.getByRole('grid').or(page.getByText('Nothing in here yet')).first().waitFor();
  assert.equal(await page.getByText(/of 30,000$/).count(), 0);
  await close();
});

test('a search is narrowed by kind, size and age, and its address says how', async () => {
  const { page, close } = await open('/files');
  await upload(page, [
    { name: 'needle.png', mimeType: 'image/png', buffer: Buffer.from(PNG, 'base64') },
    { name: 'needle.txt', mimeType: 'text/plain', buffer: Buffer.alloc(2 << 20, 'x') },
  ]);
  await page.goto('/search?q=needle');
  const hits = page.locator('a.hit .name');
  await hits.nth(1).waitFor();
  await page.getByLabel('Kind').selectOption({ label: 'Pictures' });
  await page.waitForURL('**/search?q=needle&kind=image');
  await hits.filter({ hasText: 'needle.txt' }).waitFor({ state: 'detached' });
  assert.deepEqual(await hits.allTextContents(), ['needle.png']);
  await page.getByText('Backups are searched by names alone').waitFor();
  await picture(page, 'search-narrowed');
  await assertAccessible(page);
  await page.getByLabel('Size').selectOption({ label: '1 MiB or more' });
  await page.getByText('Nothing on the drive is like this.').waitFor();
  await page.goto('/search?size=1M&changed=today');
  await hits.filter({ hasText: 'needle.txt' }).waitFor();
  assert.equal(await hits.filter({ hasText: 'needle.png' }).count(), 0);
  assert.equal(await page.getByLabel('Changed').inputValue(), 'today');
  await page.setViewportSize({ width: 360, height: 740 });
  await assertFits(page);
  await close();
});

/** A second of a tone, as WAV of 8 bits. */
function tone() {
  const samples = Buffer.from(Array.from({ length: 8000 }, (_, at) => 128 + Math.round(100 * Math.sin(at / 3))));
  const head = Buffer.from('RIFF....WAVEfmt ....................data....', 'latin1');
  head.writeUInt32LE(36 + samples.length, 4);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(8000, 24);
  head.writeUInt32LE(8000, 28);
  head.writeUInt16LE(1, 32);
  head.writeUInt16LE(8, 34);
  head.writeUInt32LE(samples.length, 40);
  return Buffer.concat([head, samples]);
}

test('films and sound are played, and from any place on', async () => {
  const { page, close } = await open('/files');
  // The browser makes the film itself, and with it what only a browser of this machine can play.
  const film = await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 48 });
    const pen = canvas.getContext('2d');
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: 'video/webm' });
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    for (let frame = 0; frame < 20; frame += 1) {
      pen.fillStyle = `hsl(${frame * 18} 80% 50%)`;
      pen.fillRect(0, 0, 64, 48);
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    recorder.stop();
    await stopped;
    return Array.from(new Uint8Array(await new Blob(parts).arrayBuffer()));
  });
  await upload(page, [
    { name: 'film.webm', mimeType: 'video/webm', buffer: Buffer.from(film) },
    { name: 'tone.wav', mimeType: 'audio/wav', buffer: tone() },
  ]);
  for (const [name, kind] of [['film.webm', 'video'], ['tone.wav', 'audio']]) {
    const part = page.waitForResponse((answer) => answer.url().includes('/content/') && answer.status() === 206);
    await row(page, name).getByText(name).click();
    assert.match((await part).headers()['content-range'], /^bytes 0-\d+\/\d+$/, name);
    const played = page.locator(kind);
    const state = await played.evaluate(async (element) => {
      element.muted = true;
      await element.play();
      await new Promise((resolve) => element.addEventListener('ended', resolve, { once: true }));
      const rewound = new Promise((resolve) => element.addEventListener('seeked', resolve, { once: true }));
      element.currentTime = 0.2;
      await rewound;
      return { width: element.videoWidth, at: element.currentTime };
    });
    assert.deepEqual([state.width, state.at], [kind === 'video' ? 64 : undefined, 0.2], name);
    await page.keyboard.press('Escape');
    await played.waitFor({ state: 'detached' });
  }
  await close();
});

test('pictures show small in the list, and what is none as a file', async () => {
  const { page, close } = await open('/files');
  const buffer = Buffer.from(PNG, 'base64');
  await upload(page, [
    { name: 'red.png', mimeType: 'image/png', buffer },
    { name: 'broken.png', mimeType: 'image/png', buffer: buffer.subarray(0, 40) },
  ]);
  // Only what is in sight is there.
  await page.getByRole('searchbox', { name: 'Filter this folder' }).fill('.png');
  await row(page, 'red.png').locator('img').waitFor();
  await page.waitForFunction(() => document.querySelector('img[src*="red.png"]')?.naturalWidth === 2);
  await row(page, 'broken.png').locator('.icon svg').waitFor();
  await close();
});

test('content never runs in the origin of the application', async () => {
  const { page, context, complaints } = await open('/files');
  const script = '<script>document.title = "ran"</script>';
  await upload(page, [
    { name: 'x.html', mimeType: 'text/html', buffer: Buffer.from(script) },
    { name: 'x.pdf', mimeType: 'application/pdf', buffer: Buffer.from(script) },
    { name: 'x.svg', mimeType: 'image/svg+xml', buffer: Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg">${script}</svg>`) },
  ]);
  for (const name of ['x.html', 'x.svg', 'x.pdf']) {
    const answer = await page.request.get(`/api/v1/files/${name}`);
    assert.match(answer.headers()['content-disposition'], /^attachment/);
    assert.match(answer.headers()['content-security-policy'], /sandbox/);
    assert.equal(answer.headers()['x-content-type-options'], 'nosniff');
    await assert.rejects(page.evaluate((name) => import(`/api/v1/files/${name}`), name));
  }
  assert.notEqual(await page.title(), 'ran');
  assert.ok(complaints.every((complaint) => /Failed to load module script|MIME type/.test(complaint)), complaints.join());
  await context.close();
});

for (const [name, options] of Object.entries({
  light: { colorScheme: 'light', viewport: { width: 1280, height: 800 } },
  dark: { colorScheme: 'dark', viewport: { width: 1280, height: 800 } },
  'phone-light': { colorScheme: 'light', viewport: { width: 360, height: 740 } },
  'phone-dark': { colorScheme: 'dark', viewport: { width: 360, height: 740 } },
})) {
  test(`the files are accessible: ${name}`, async () => {
    const { page, close } = await open('/files', options);
    await row(page, 'dropped.txt').getByRole('checkbox').check();
    await picture(page, `files-${name}`);
    await assertAccessible(page);
    await assertFits(page);
    await showDetails(page, 'dropped.txt');
    await page.getByRole('complementary', { name: 'Details' }).getByText('newest').waitFor();
    await picture(page, `files-details-${name}`);
    await assertAccessible(page);
    await close();
  });
}

test('without a login, and without a server, the screen says so', async () => {
  const stranger = await open('/files', { storageState: { cookies: [], origins: [] } });
  await stranger.page.getByRole('heading', { name: 'Log in' }).waitFor();
  await stranger.close();
  const offline = await open('/files');
  await row(offline.page, 'dropped.txt').waitFor();
  await offline.context.setOffline(true);
  await offline.page.getByRole('button', { name: 'holiday', exact: true }).click();
  await offline.page.getByText('the server cannot be reached').waitFor();
  await picture(offline.page, 'files-offline');
  await offline.context.close();
});
