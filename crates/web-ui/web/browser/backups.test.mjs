// Backups in the real browser: what `backup-client` backed up to the real server is found, looked into, compared, saved, held,
// removed and brought back; rules are tried before they hold.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, logIn, openPage, picture, startBrowser, startServer } from './machine.mjs';

const LARGE = randomBytes(3 << 20);
/** A red square, 2 × 2. */
const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg==',
  'base64',
);
/** One page, found without its table. */
const PDF = '%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n' +
  '3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n';

/** A second of a tone, as WAV of 8 bits. */
function tone() {
  const samples = Buffer.from(Array.from({ length: 8000 }, (_, at) => 128 + Math.round(100 * Math.sin(at / 3))));
  const head = Buffer.from('RIFF....WAVEfmt ....................data....', 'latin1');
  const [words, shorts] = [[[36 + samples.length, 4], [16, 16], [8000, 24], [8000, 28], [samples.length, 40]], [[1, 20], [1, 22], [1, 32], [8, 34]]];
  for (const [value, at] of words) head.writeUInt32LE(value, at);
  for (const [value, at] of shorts) head.writeUInt16LE(value, at);
  return Buffer.concat([head, samples]);
}

let server;
let browser;
let storageState;
let files;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  storageState = await logIn(server, browser);
  const laptop = server.device('laptop');
  await laptop.connect();
  const backUp = () => laptop.run('backup', files, '--chain', 'home');
  files = join(server.folder, 'home');
  mkdirSync(join(files, 'plans'), { recursive: true });
  mkdirSync(join(files, 'unchanged'));
  writeFileSync(join(files, 'unchanged', 'note.txt'), 'always the same');
  writeFileSync(join(files, 'plans', 'garden.txt'), 'tulips');
  writeFileSync(join(files, 'plans', 'gone.txt'), 'soon');
  writeFileSync(join(files, 'large.bin'), LARGE);
  mkdirSync(join(files, 'look'));
  writeFileSync(join(files, 'look', 'a.png'), PNG);
  writeFileSync(join(files, 'look', 'b.txt'), 'first line');
  writeFileSync(join(files, 'look', 'c.pdf'), PDF);
  writeFileSync(join(files, 'look', 'd.wav'), tone());
  await backUp();
  writeFileSync(join(files, 'plans', 'garden.txt'), 'tulips and tomatoes');
  rmSync(join(files, 'plans', 'gone.txt'));
  writeFileSync(join(files, 'plans', 'new.txt'), 'new');
  await backUp();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const open = (path, options) => openPage(browser, server, path, { storageState, ...options });

/** Goes from all backups down to the folder that was backed up. */
async function browse(page) {
  await page.getByRole('link', { name: 'home', exact: true }).click();
  await page.getByRole('region', { name: 'Snapshots' }).getByRole('link').first().click();
  for (const name of files.split('/').filter((part) => part !== '')) {
    await page.getByRole('button', { name, exact: true }).click();
    await page.getByRole('navigation', { name: 'Where this is' }).getByRole('link', { name, exact: true }).waitFor();
  }
}

/** Rules are set by who knows the password, not by who finds the browser open. */
async function sayPassword(page) {
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Your password').fill(server.passwords.admin);
  await dialog.getByRole('button', { name: 'Set the rules' }).click();
  await dialog.waitFor({ state: 'detached' });
}

async function saved(page, act) {
  const [download] = await Promise.all([page.waitForEvent('download'), act()]);
  return { name: download.suggestedFilename(), path: await download.path() };
}

test('pictures, texts, PDFs and sound of a snapshot are looked at', async () => {
  const { page, close } = await open('/backups');
  await browse(page);
  await page.getByRole('button', { name: 'look', exact: true }).click();
  // Small in the list, as on the drive.
  await page.waitForFunction(() => document.querySelector('[role=grid] img')?.naturalWidth === 2);
  await picture(page, 'snapshot-pictures');
  await page.getByRole('button', { name: 'Actions for a.png' }).click();
  await page.getByRole('menuitem', { name: 'Look at it' }).click();
  const dialog = page.getByRole('dialog');
  await page.waitForFunction(() => document.querySelector('dialog img')?.naturalWidth === 2);
  assert.match(await dialog.getByRole('img', { name: 'a.png' }).getAttribute('src'), /\/content\/[0-9a-f]+$/);
  await assertAccessible(page);
  await page.keyboard.press('ArrowRight');
  await dialog.getByText('first line').waitFor();
  await page.keyboard.press('ArrowRight');
  await dialog.getByText('Page 1 of 1').waitFor();
  await dialog.getByRole('button', { name: 'Details' }).click();
  const details = page.getByRole('complementary', { name: 'Details' });
  await details.getByRole('heading', { name: 'c.pdf' }).waitFor();
  await details.getByRole('button', { name: 'Look at it' }).click();
  await dialog.getByText('Page 1 of 1').waitFor();
  const part = page.waitForResponse((answer) => answer.url().includes('/content/') && answer.status() === 206);
  await dialog.getByRole('button', { name: 'Next file' }).click();
  assert.match((await part).headers()['content-range'], /^bytes 0-\d+\/8044$/);
  const at = await dialog.locator('audio').evaluate(async (element) => {
    element.muted = true;
    const ended = new Promise((resolve) => element.addEventListener('ended', resolve, { once: true }));
    await element.play();
    await ended;
    const rewound = new Promise((resolve) => element.addEventListener('seeked', resolve, { once: true }));
    element.currentTime = 0.2;
    await rewound;
    return element.currentTime;
  });
  assert.equal(at, 0.2);
  await close();
});

test('a snapshot is looked into, and a file of it saved', async () => {
  const { page, close } = await open('/backups');
  await page.getByRole('heading', { name: 'laptop' }).waitFor();
  await page.getByText('2 snapshots').waitFor();
  await browse(page);
  const large = await saved(page, async () => {
    await page.getByRole('button', { name: 'Actions for large.bin' }).click();
    await page.getByRole('menuitem', { name: 'Download' }).click();
  });
  assert.equal(large.name, 'large.bin');
  const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');
  assert.equal(digest(readFileSync(large.path)), digest(LARGE));

  const packed = await saved(page, () => page.getByRole('link', { name: 'Download this folder as ZIP' }).click());
  const listed = execFileSync('python3', ['-m', 'zipfile', '-l', packed.path], { encoding: 'utf8' });
  for (const name of ['plans/garden.txt', 'plans/new.txt', 'unchanged/note.txt', 'large.bin']) assert.ok(listed.includes(name), listed);
  assert.ok(!listed.includes('gone.txt'));

  // Some of it, each under its own name.
  await page.getByRole('row', { name: /^Select plans / }).getByRole('checkbox').check();
  await page.getByRole('row', { name: /^Select large\.bin / }).getByRole('checkbox').check();
  await page.getByText('2 items selected').waitFor();
  await picture(page, 'backups-selected');
  const some = await saved(page, () => page.getByRole('button', { name: 'Download as ZIP', exact: true }).click());
  assert.equal(some.name, 'snapshot.zip');
  const few = execFileSync('python3', ['-m', 'zipfile', '-l', some.path], { encoding: 'utf8' });
  for (const name of ['plans/garden.txt', 'plans/new.txt', 'large.bin']) assert.ok(few.includes(name), few);
  assert.ok(!few.includes('note.txt'), few);
  await page.getByRole('button', { name: 'Select nothing' }).click();

  // Another version of a file, from the snapshot that has it.
  await page.getByRole('button', { name: 'plans', exact: true }).click();
  await page.getByRole('button', { name: 'garden.txt', exact: true }).click();
  const about = page.getByRole('complementary', { name: 'Details' });
  await about.getByText('this one').waitFor();
  await about.getByText(/backup-client restore [0-9a-f]{8}:/).waitFor();
  const versions = about.getByRole('listitem');
  await versions.nth(1).waitFor();
  assert.equal(await versions.count(), 2);
  const old = await saved(page, () => versions.nth(1).getByRole('link').click());
  assert.equal(readFileSync(old.path, 'utf8'), 'tulips');
  await close();
});

test('names are found in all of a snapshot', async () => {
  const { page, close } = await open('/backups');
  await page.getByRole('link', { name: 'home', exact: true }).click();
  await page.getByRole('region', { name: 'Snapshots' }).getByRole('link').first().click();
  await page.getByLabel('Search names in this snapshot').fill('NOTE');
  await page.keyboard.press('Enter');
  await page.getByRole('status').getByText('1 name found').waitFor();
  await page.getByRole('button', { name: /^note\.txt/ }).waitFor();
  await page.getByLabel('Search names in this snapshot').fill('no such name');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'No such name in this snapshot' }).waitFor();
  await page.getByRole('button', { name: 'End the search' }).click();
  await page.getByRole('button', { name: files.split('/')[1], exact: true }).waitFor();
  await close();
});

test('two snapshots are compared', async () => {
  const { page, close } = await open('/backups');
  await page.getByRole('link', { name: 'home', exact: true }).click();
  await page.getByRole('button', { name: /Actions for the snapshot/ }).first().click();
  await page.getByRole('menuitem', { name: 'Compare with the one before' }).click();
  await page.getByText('1 added').waitFor();
  const of = (name) => page.getByRole('region', { name: 'Changed paths' }).getByRole('listitem').filter({ hasText: name });
  await of('plans/garden.txt').getByText('changed · 6 B → 19 B').waitFor();
  await of('plans/gone.txt').getByText('removed · 4 B').waitFor();
  await of('plans/new.txt').getByText('added · 3 B').waitFor();
  assert.equal(await of('unchanged/note.txt').count(), 0);
  await close();
});

test('a snapshot is held, and moved to the trash and back', async () => {
  const { page, context } = await open('/backups');
  await page.getByRole('link', { name: 'home', exact: true }).click();
  const act = async (name) => {
    await page.getByRole('button', { name: /Actions for the snapshot/ }).last().click();
    await page.getByRole('menuitem', { name, exact: true }).click();
  };
  // Young ones stay, and the page says why.
  await act('Move to the trash');
  await page.getByText(/too young/).waitFor();
  await act('Hold');
  await page.getByText('held', { exact: true }).waitFor();
  await act('End the hold');
  await page.getByText('held', { exact: true }).waitFor({ state: 'detached' });
  server.admin('retention', 'set', 'laptop/home', '--keep-last', '100', '--min-age', '0s');
  await act('Move to the trash');
  await page.getByText('The snapshot is in the trash').waitFor();
  await page.getByRole('link', { name: 'Trash', exact: true }).last().click();
  await page.getByText(/goes for good on/).waitFor();
  await act('Bring back');
  await page.getByRole('heading', { name: 'No snapshots in the trash' }).waitFor();
  server.admin('retention', 'set', 'laptop/home', '--inherit');
  // The browser complains of what was refused, as it was to be.
  await context.close();
});

test('rules are tried before they hold', async () => {
  const { page, close } = await open('/backups');
  await page.getByRole('link', { name: 'home', exact: true }).click();
  await page.getByRole('link', { name: 'Retention' }).click();
  await page.getByText('2 snapshots would stay').waitFor();
  await page.getByLabel('Newest snapshots').fill('1');
  await page.getByLabel('Nothing younger than days').fill('0');
  await page.getByText('1 snapshot would go').waitFor();
  await page.getByText('no rule keeps it').waitFor();
  assert.match(server.admin('retention', 'show', 'laptop/home'), /\(default\)/, 'nothing is set yet');
  await page.getByRole('button', { name: 'Save' }).click();
  await sayPassword(page);
  await page.getByText('Rules of its own').waitFor();
  assert.match(server.admin('retention', 'show', 'laptop/home'), /keep last 1/);
  await page.getByLabel('Newest snapshots').fill('many');
  await page.getByText('A whole number, or nothing').waitFor();
  await page.getByRole('button', { name: 'Save', disabled: true }).waitFor();
  await page.getByRole('button', { name: 'Use the rules for all chains' }).click();
  await sayPassword(page);
  await page.getByText('The rules for all chains').waitFor();
  await close();
});

test('rules for all chains are tried out before they hold, and noted', async () => {
  const { page, complaints, close } = await open('/settings/retention');
  await page.getByText('laptop / home').waitFor();
  await page.getByText('2 snapshots would stay, 0 snapshots would go').waitFor();
  await page.getByLabel('Newest snapshots').fill('1');
  await page.getByLabel('Nothing younger than days').fill('0');
  await page.getByText('1 snapshot would stay, 1 snapshot would go').waitFor();
  await page.getByText('retention set --keep-last 1 --min-age 0d --data-dir DIR').waitFor();
  await page.getByLabel('Nothing younger than days').fill('14');
  await page.getByText('2 snapshots would stay, 0 snapshots would go').waitFor();
  await page.getByRole('button', { name: 'Save' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Your password').fill('not this one');
  await dialog.getByRole('button', { name: 'Set the rules' }).click();
  await dialog.getByText("the account's password is another").waitFor();
  await picture(page, 'retention-password');
  await assertAccessible(page);
  // The browser complains of what was refused, as it was to be.
  assert.equal(complaints.splice(0).length, 1);
  await sayPassword(page);
  await page.getByText('The rules are set').waitFor();
  await page.goto('/settings/audit');
  await page.getByText('keep last 1, nothing younger than 14d goes').first().waitFor();
  assert.deepEqual(complaints, []);
  await close();
});

test('a name is found in all snapshots', async () => {
  const { page, complaints, close } = await open('/search?q=GARDEN');
  const found = page.getByRole('region', { name: 'In backups' });
  await found.getByRole('listitem').filter({ hasText: 'in 2 snapshots' }).filter({ hasText: '2 versions' }).waitFor();
  const gone = await saved(page, async () => {
    await page.getByLabel('Names to look for').fill('gone.txt');
    await found.getByRole('listitem').filter({ hasText: 'in the one of' }).waitFor();
    await found.getByRole('link', { name: /^Download ?: gone\.txt$/ }).click();
  });
  assert.equal(readFileSync(gone.path, 'utf8'), 'soon');
  await found.getByRole('link', { name: /^Through all snapshots ?: gone\.txt$/ }).click();
  const details = page.getByRole('complementary', { name: 'Details' });
  await details.getByRole('heading', { name: 'gone.txt' }).waitFor();
  await details.getByText('not there').waitFor();
  await details.getByText('this one').waitFor();
  await page.goto('/search?q=no%20such%20name');
  await page.getByText('No snapshot has such a name.').waitFor();
  assert.deepEqual(complaints, []);
  await close();
});

test('a job is started by hand', async () => {
  const { page, close } = await open('/settings/jobs');
  await page.getByRole('button', { name: 'Run now: Verify everything' }).click();
  const job = page.getByRole('listitem').filter({ hasText: 'started by admin' });
  await job.getByText('done', { exact: true }).waitFor();
  await job.getByText(/verified \d+ packs/).waitFor();
  await close();
});

for (const [size, viewport] of Object.entries({ wide: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } })) {
  for (const colorScheme of ['light', 'dark']) {
    test(`every screen of backups, ${colorScheme}, ${size}`, async () => {
      const { page, context, complaints } = await open('/backups', { viewport, colorScheme });
      const check = async (name) => {
        await page.getByText('Loading…').waitFor({ state: 'detached' });
        await picture(page, `backups-${name}-${colorScheme}-${size}`);
        await assertAccessible(page, name);
        await assertFits(page, name);
        assert.deepEqual(complaints, [], name);
      };
      await page.getByRole('heading', { name: 'laptop' }).waitFor();
      await check('chains');
      await browse(page);
      await page.getByRole('button', { name: 'large.bin', exact: true }).waitFor();
      await check('folder');
      await page.getByRole('button', { name: 'large.bin', exact: true }).click();
      await page.getByText('this one').waitFor();
      await check('entry');
      await page.goto('/backups');
      await page.getByRole('link', { name: 'home', exact: true }).click();
      await page.getByRole('region', { name: 'Snapshots' }).waitFor();
      await check('snapshots');
      await page.getByRole('button', { name: /Actions for the snapshot/ }).first().click();
      await page.getByRole('menuitem', { name: 'Compare with the one before' }).click();
      await page.getByText('1 added').waitFor();
      await check('diff');
      await page.goBack();
      await page.getByRole('link', { name: 'Retention' }).click();
      await page.getByRole('heading', { name: 'What would become of the snapshots' }).waitFor();
      await check('retention');
      await page.goto('/settings/retention');
      await page.getByText('2 snapshots would stay').waitFor();
      await check('default-retention');
      await page.goto('/search?q=garden');
      await page.getByText('in 2 snapshots').waitFor();
      await check('search');
      await page.goto('/settings/jobs');
      await page.getByText(/verified \d+ packs/).first().waitFor();
      await check('jobs');
      await page.goto('/backups/snapshot/0123');
      await page.getByRole('heading', { name: 'This snapshot cannot be shown' }).waitFor();
      await context.close();
    });
  }
}
