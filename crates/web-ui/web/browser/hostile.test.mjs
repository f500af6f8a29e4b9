// Names that would run, if anything did, on every screen in the real browser: of files, folders, devices, chains and tokens.
// Nothing of them becomes an element, an attribute or a script; no dialog opens, and the Content-Security-Policy has nothing to
// block.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { assertFits, logIn, openPage, startBrowser, startServer } from './machine.mjs';

/** As names of files: all but a slash. */
const NAMES = [
  '<img src=x onerror=alert(1)>',
  '"><svg onload=alert(2)>',
  "' onmouseover='alert(3)",
  '" autofocus onfocus="alert(4)',
  '<iframe srcdoc="<script>alert(5)<&sol;script>">',
  'javascript:alert(6)',
  '<a href=javascript:alert(7)>look<&sol;a>',
  '{{constructor.constructor("alert(8)")()}}',
  '${alert(9)}',
  '&lt;img src=x onerror=alert(10)&gt;',
  '<style>*{background:url(https:&sol;&sol;evil.example)}',
  '<base href=evil.example><form action=evil.example><button>',
  '\u202etxt.exe<b>',
  '%3Cscript%3Ealert(11)%3C%2Fscript%3E',
  '--><!--<script>alert(12)',
  'line\nbreak<img src=x onerror=alert(13)>',
  '__proto__',
];
const [IMG, SVG, MOUSE] = NAMES;

let server;
let browser;
let storageState;
let snapshots;
let chain;
/** The names as the server encodes them. */
let keys;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  const laptop = server.device('laptop');
  await laptop.run('connect', server.admin('enroll', '--device', IMG));
  server.admin('enroll', '--device', SVG);
  const home = join(server.folder, 'home');
  mkdirSync(home);
  for (const [index, name] of NAMES.entries()) {
    mkdirSync(join(home, 'folders', name), { recursive: true });
    writeFileSync(join(home, 'folders', name, name), `file ${index}`);
    writeFileSync(join(home, name), `file ${index}`);
  }
  // As texts, and as a picture.
  mkdirSync(join(home, 'few'));
  for (const name of [IMG, SVG]) writeFileSync(join(home, 'few', `${name}.txt`), '<script>alert("content")</script>');
  writeFileSync(join(home, 'few', `${MOUSE}.png`), 'no picture');
  await laptop.run('put', home);
  await laptop.run('backup', home, '--chain', SVG);
  writeFileSync(join(home, IMG), 'changed');
  writeFileSync(join(home, `new ${SVG}`), 'new');
  await laptop.run('backup', home, '--chain', SVG);
  server.admin('token', 'add', IMG, '--scope', 'read');
  storageState = await logIn(server, browser);
  const { page, close } = await open('/');
  const { items } = await (await page.request.get('/api/v1/folder?path=home/folders')).json();
  keys = new Map(items.map(({ name, path }) => [name, path.split('/').at(-1)]));
  [chain] = (await (await page.request.get('/api/v1/chains')).json()).items;
  snapshots = (await (await page.request.get(`/api/v1/snapshots?chain=${chain.id}`)).json()).items;
  await close();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A page that notes whatever its policy blocks and whatever calls `alert`. */
async function open(path, options = {}) {
  const opened = await openPage(browser, server, undefined, { storageState, ...options });
  await opened.page.addInitScript(() => {
    window.found = [];
    addEventListener('securitypolicyviolation', (event) => window.found.push(`${event.violatedDirective}: ${event.blockedURI}`));
    for (const name of ['alert', 'confirm', 'prompt']) window[name] = (text) => void window.found.push(`${name} ${text}`);
  });
  await opened.page.goto(path);
  return opened;
}

/** Nothing of a name is more than text. */
async function assertHarmless(page, where) {
  const found = await page.evaluate(() => {
    const own = [...document.querySelectorAll('*')];
    const isOwn = (url) => url === '' || new URL(url, location.href).origin === location.origin || /^(blob|data):/.test(url);
    const strange = own.filter(
      (one) =>
        [...one.attributes].some(({ name }) => name.startsWith('on') || name === 'srcdoc') ||
        (one.localName === 'script' && !one.src) ||
        (one.localName === 'style' && one.textContent.includes('evil')) ||
        ['iframe', 'base', 'object', 'embed'].includes(one.localName) ||
        ['src', 'href', 'action', 'formaction'].some((name) => typeof one[name] === 'string' && one.hasAttribute(name) && (/^javascript:/i.test(one[name]) || !isOwn(one[name]))),
    );
    return [...window.found, ...strange.map((one) => one.outerHTML.slice(0, 200))];
  });
  assert.deepEqual(found, [], where);
  await assertFits(page, where);
}

const settled = (page) => page.getByText('Loading…').waitFor({ state: 'detached' });
const escaped = (name) => name.replace('\n', '\\u{a}').replace('\u202e', '\\u{202e}');

for (const [size, viewport] of Object.entries({ wide: { width: 1366, height: 800 }, phone: { width: 360, height: 740 } })) {
  test(`names on every screen are text, ${size}`, async () => {
    const { page, close } = await open('/files/home', { viewport });
    // Every one of them, as it is; what cannot be seen, as what it is.
    for (const name of NAMES) {
      await page.goto(`/files/home?at=${encodeURIComponent(keys.get(name))}`);
      await page.getByRole('complementary', { name: 'Details' }).getByRole('heading', { name: escaped(name), exact: true }).waitFor();
      await assertHarmless(page, `details of ${name}`);
    }
    const id = snapshots[0].id;
    const home = `${server.folder}/home`;
    const folder = keys.get(SVG);
    const screens = {
      '/': IMG,
      '/files/home/folders': SVG,
      [`/files/home/folders/${folder}`]: SVG,
      [`/search?q=${encodeURIComponent('alert')}`]: IMG,
      [`/search?q=${encodeURIComponent(IMG)}`]: IMG,
      '/backups': SVG,
      [`/backups/chain/${chain.id}`]: SVG,
      [`/backups/chain/${chain.id}/retention`]: SVG,
      [`/backups/snapshot/${id}${home}/few`]: `${MOUSE}.png`,
      [`/backups/snapshot/${id}${home}/folders/${folder}`]: SVG,
      [`/backups/snapshot/${id}${home}?at=${encodeURIComponent(folder)}`]: SVG,
      [`/backups/diff/${id}/${snapshots[1].id}`]: `new ${SVG}`,
      '/settings/devices': IMG,
      '/settings/tokens': IMG,
      '/settings/audit': SVG,
      '/settings/server': 'Upkeep',
      '/settings/retention': SVG,
      '/settings/accounts': 'admin',
    };
    for (const [address, text] of Object.entries(screens)) {
      await page.goto(address);
      await settled(page);
      await page.getByText(text).filter({ visible: true }).first().waitFor();
      await assertHarmless(page, address);
    }
    // What names do not get into by an address: searches, and screens that are not there.
    for (const hostile of NAMES) {
      await page.goto(`/${encodeURIComponent(hostile)}/${encodeURIComponent(hostile)}#${encodeURIComponent(hostile)}`);
      await page.getByRole('heading', { name: 'There is no such page' }).waitFor();
      await assertHarmless(page, `no page ${hostile}`);
    }
    await close();
  });

  test(`names in dialogs, menus and messages are text, ${size}`, async () => {
    const { page, close } = await open('/files/home/few', { viewport });
    const actions = (name) => page.getByRole('button', { name: `Actions for ${name}`, exact: true }).click();
    const wish = (name) => page.getByRole('menuitem', { name }).first().click();
    const shut = () => page.keyboard.press('Escape');
    const name = `${IMG}.txt`;
    await page.getByRole('button', { name, exact: true }).click();
    await page.getByRole('dialog').getByText('<script>alert("content")</script>').waitFor();
    await assertHarmless(page, 'preview');
    await page.keyboard.press('ArrowRight');
    await assertHarmless(page, 'next preview');
    await shut();
    for (const act of ['Share', 'Rename', /^Move$/, 'Copy to…']) {
      await actions(name);
      await assertHarmless(page, 'menu');
      await wish(act);
      await page.getByRole('dialog').waitFor();
      await assertHarmless(page, `dialog ${act}`);
      await shut();
      await page.getByRole('dialog').waitFor({ state: 'detached' });
    }
    // A file that is on its way, and one that cannot be renamed to what is there.
    await page.locator('input[type=file][multiple]').setInputFiles([{ name: `up ${IMG}`, mimeType: 'text/html', buffer: Buffer.from('<script>alert(1)</script>') }]);
    await page.getByText('Everything is uploaded').waitFor();
    await assertHarmless(page, 'uploads');
    await page.getByRole('button', { name: `up ${IMG}`, exact: true }).waitFor();
    await actions(`up ${IMG}`);
    await wish('Move to the trash');
    await page.getByText('1 item moved to the trash').waitFor();
    await assertHarmless(page, 'message');
    await page.goto('/trash');
    await page.getByText(`up ${IMG}`).first().waitFor();
    await assertHarmless(page, 'trash');
    await page.goto('/settings/devices');
    await page.getByRole('button', { name: `Revoke ${IMG}` }).click();
    await page.getByRole('dialog').waitFor();
    await assertHarmless(page, 'revoking');
    await close();
  });
}

test('the tree shows them as text, too', async () => {
  const { page, close } = await open('/files/home/folders', { viewport: { width: 1366, height: 800 } });
  const tree = page.getByRole('tree', { name: 'Folders' });
  await tree.getByRole('treeitem', { name: SVG, exact: true }).waitFor();
  await page.goto(`/backups/snapshot/${snapshots[0].id}${server.folder}/home/folders`);
  await tree.getByRole('treeitem', { name: IMG, exact: true }).first().waitFor();
  await tree.getByRole('treeitem', { name: escaped(NAMES[15]), exact: true }).waitFor();
  await assertHarmless(page, 'tree');
  await close();
});

test('whoever opens a link sees them as text', async () => {
  const { page, close } = await open('/');
  const path = `home/folders/${keys.get(IMG)}`;
  const link = await page.evaluate(async (path) => {
    const { csrf_token } = await (await fetch('/api/v1/session')).json();
    const made = await fetch('/api/v1/shares', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': csrf_token },
      body: JSON.stringify({ kind: 'download', path, expires_in_ms: 3_600_000 }),
    });
    return (await made.json()).link;
  }, path);
  await page.goto('/settings/shares');
  await page.getByText(IMG).first().waitFor();
  await assertHarmless(page, 'shares');
  await close();
  const stranger = await open(new URL(link).pathname, { storageState: { cookies: [], origins: [] } });
  await stranger.page.getByText(IMG).first().waitFor();
  await assertHarmless(stranger.page, 'link');
  await stranger.close();
});

test('names of accounts cannot be such names', () => {
  // The last is an ordinary name there.
  for (const name of NAMES.slice(0, -1)) assert.throws(() => server.admin('account', 'add', name), name);
});
