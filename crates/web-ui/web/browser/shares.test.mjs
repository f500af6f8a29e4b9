// Files that are looked at, found and shared: in the application, and by people who have a link and no account.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, logIn, openContext, openPage, picture, startBrowser, startServer } from './machine.mjs';

const NOBODY = { cookies: [], origins: [] };
const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } };
/** A red square, 2 × 2. */
const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg==',
  'base64',
);
const SCRIPT = '<script>document.title = "ran"; fetch("/api/v1/me").then(() => alert("ran"))</script>';

/** A PDF whose script runs when it is shown. */
function scriptedPdf() {
  const objects = [
    '<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert\\("ran"\\); this.submitForm\\("/api/v1/me"\\);)>>>>',
    '<</Type/Pages/Kids[3 0 R]/Count 1>>',
    '<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>',
  ];
  const starts = [];
  let file = '%PDF-1.4\n';
  for (const [index, object] of objects.entries()) {
    starts.push(`${String(file.length).padStart(10, '0')} 00000 n \n`);
    file += `${index + 1} 0 obj${object}endobj\n`;
  }
  return `${file}xref\n0 4\n0000000000 65535 f \n${starts.join('')}trailer<</Size 4/Root 1 0 R>>\nstartxref\n${file.length}\n%%EOF\n`;
}

let server;
let browser;
let storageState;

const files = {
  'look/a.png': PNG,
  'look/b.txt': 'first line\n\tsecond \u202eline\n',
  'look/c.html': `<!doctype html><h1>not a page</h1>${SCRIPT}`,
  'look/d.svg': `<svg xmlns="http://www.w3.org/2000/svg">${SCRIPT}</svg>`,
  'look/e.pdf': scriptedPdf(),
  'look/deep/Über Café.bin': randomBytes(1000),
  'public/one.txt': 'for everybody\n',
  'public/in it/two.txt': 'deeper\n',
  'inbox/secret.txt': 'not for them\n',
};

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  const token = server.admin('token', 'add', 'test', '--scope', 'admin');
  storageState = await logIn(server, browser);
  const context = await openContext(browser, { ignoreHTTPSErrors: true, baseURL: server.url });
  for (const [path, data] of Object.entries(files)) {
    const address = `/api/v1/files/${path.split('/').map(encodeURIComponent).join('/')}`;
    const answer = await context.request.put(address, { data, headers: { Authorization: `Bearer ${token}` } });
    assert.ok(answer.ok(), await answer.text());
  }
  await context.close();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const open = (path, options) => openPage(browser, server, path, { storageState, ...options });

async function check(page) {
  await assertFits(page);
  await assertAccessible(page);
}

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ['light', 'dark']) {
    test(`files are looked at, one after the other, and nothing in them runs: ${colorScheme}, ${size}`, async () => {
      const { page, close } = await open('/files/look', { viewport, colorScheme });
      await page.getByRole('button', { name: 'a.png', exact: true }).click();
      const dialog = page.getByRole('dialog');
      const image = dialog.getByRole('img', { name: 'a.png' });
      await image.waitFor();
      await page.waitForFunction(() => document.querySelector('dialog img')?.naturalWidth === 2);
      assert.match(await image.getAttribute('src'), /^\/content\/[0-9a-f]{32}$/);
      await picture(page, `preview-image-${colorScheme}-${size}`);
      await check(page);
      await page.keyboard.press('ArrowRight');
      await dialog.getByText('second \\u{202e}line').waitFor();
      await picture(page, `preview-text-${colorScheme}-${size}`);
      await check(page);
      await page.keyboard.press('ArrowRight');
      await dialog.getByText('<h1>not a page</h1>').waitFor();
      await page.keyboard.press('ArrowRight');
      await dialog.getByText('<svg xmlns').waitFor();
      await page.keyboard.press('ArrowRight');
      await dialog.getByText('Page 1 of 1').waitFor();
      // What is not shown is passed over.
      await dialog.getByRole('button', { name: 'Next file', disabled: true }).waitFor();
      assert.notEqual(await page.title(), 'ran');
      await page.keyboard.press('ArrowLeft');
      await dialog.getByRole('heading', { name: 'd.svg' }).waitFor();
      await page.keyboard.press('ArrowLeft');
      await dialog.getByRole('heading', { name: 'c.html' }).waitFor();
      await dialog.getByRole('button', { name: 'Details' }).click();
      await page.getByRole('complementary', { name: 'Details' }).getByText('SHA-256').waitFor();
      await close();
    });

    test(`names are found as they are typed: ${colorScheme}, ${size}`, async () => {
      const { page, close } = await open('/files', { viewport, colorScheme });
      await page.getByRole('grid').waitFor();
      await page.keyboard.press('/');
      await page.getByLabel('Names to look for').and(page.locator(':focus')).waitFor();
      await page.keyboard.type('uber CAFE');
      const found = page.getByRole('link', { name: /Über Café\.bin/ });
      await found.waitFor();
      await page.getByText('Drive / look / deep').waitFor();
      await picture(page, `search-${colorScheme}-${size}`);
      await check(page);
      await page.keyboard.press('ArrowDown');
      await page.keyboard.press('Enter');
      await page.getByRole('complementary', { name: 'Details' }).getByRole('heading', { name: 'Über Café.bin' }).waitFor();
      await page.waitForURL((url) => url.pathname === '/files/look/deep');
      await page.goto('/search?q=no%20such%20name');
      await page.getByText('Nothing on the drive has such a name').waitFor();
      await close();
    });

    test(`a link opens a folder to somebody without an account: ${colorScheme}, ${size}`, async () => {
      const { page, close } = await open('/files', { viewport, colorScheme });
      await page.getByRole('button', { name: 'Actions for public' }).click();
      await page.getByRole('menuitem', { name: 'Share' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByLabel('Password', { exact: true }).fill('open sesame');
      await dialog.getByLabel('Most downloads').fill('2');
      await picture(page, `share-${colorScheme}-${size}`);
      await check(page);
      await dialog.getByRole('button', { name: 'Make a link' }).click();
      await dialog.getByRole('img', { name: 'QR code of the link' }).waitFor();
      const link = await dialog.locator('pre').first().textContent();
      assert.match(link, /^https:\/\/127\.0\.0\.1:\d+\/s\/[0-9a-f]{32}$/);
      await picture(page, `share-made-${colorScheme}-${size}`);
      await check(page);
      await dialog.getByRole('button', { name: 'Close' }).last().click();

      const stranger = await open(link, { viewport, colorScheme, storageState: NOBODY });
      const there = stranger.page;
      await there.getByLabel('Password').fill('open sesame');
      await picture(there, `link-password-${colorScheme}-${size}`);
      await checkLink(there);
      await there.getByRole('button', { name: 'Open' }).click();
      await there.getByRole('heading', { name: 'public' }).waitFor();
      await picture(there, `link-folder-${colorScheme}-${size}`);
      await checkLink(there);
      const [download] = await Promise.all([there.waitForEvent('download'), there.getByRole('link', { name: 'one.txt' }).click()]);
      assert.equal(download.suggestedFilename(), 'one.txt');
      assert.equal(readFileSync(await download.path(), 'utf8'), 'for everybody\n');
      await there.getByRole('link', { name: 'in it' }).click();
      const [zip] = await Promise.all([
        there.waitForEvent('download'),
        there.getByRole('link', { name: 'Download all as ZIP' }).click(),
      ]);
      assert.ok(readFileSync(await zip.path()).includes('deeper'));
      assert.deepEqual(await stranger.context.cookies(), []);
      const over = await stranger.context.request.get(link);
      assert.equal(over.status(), 404, 'two downloads, and it is used up');
      await stranger.close();

      await page.goto('/settings/shares');
      await page.getByText('downloads: 2 / 2').first().waitFor();
      await picture(page, `shares-${colorScheme}-${size}`);
      await check(page);
      await page.getByRole('button', { name: /^Revoke the link to public/ }).first().click();
      await page.getByText('The link is revoked').waitFor();
      await close();
    });
  }
}

/** Pages for strangers hold no script, so axe looks at a copy of them. */
async function checkLink(page) {
  assert.equal(await page.locator('script').count(), 0);
  const html = await page.content();
  const context = await openContext(browser, { viewport: page.viewportSize() });
  const copy = await context.newPage();
  await copy.setContent(html);
  await check(copy);
  await context.close();
}

test('a link takes files into a folder and shows nothing of it', async () => {
  const { page, close } = await open('/files');
  await page.getByRole('button', { name: 'Actions for inbox' }).click();
  await page.getByRole('menuitem', { name: 'Share' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('What the link is for').selectOption('upload');
  await dialog.getByLabel('Most files').fill('2');
  await dialog.getByLabel('Largest file in MiB').fill('1');
  await dialog.getByRole('button', { name: 'Make a link' }).click();
  await dialog.getByRole('img', { name: 'QR code of the link' }).waitFor();
  const link = await dialog.locator('pre').first().textContent();
  const stranger = await open(link, { storageState: NOBODY });
  await stranger.page.getByText('Files that may still be sent: 2').waitFor();
  await stranger.page.getByLabel('Files').setInputFiles([
    { name: 'secret.txt', mimeType: 'text/plain', buffer: Buffer.from('mine') },
    { name: 'large.bin', mimeType: 'application/octet-stream', buffer: randomBytes((1 << 20) + 1) },
  ]);
  await stranger.page.getByRole('button', { name: 'Send' }).click();
  await stranger.page.getByText('longer than 1.0 MiB').waitFor();
  await stranger.page.getByText('Files that may still be sent: 1').waitFor();
  await picture(stranger.page, 'link-upload');
  await checkLink(stranger.page);
  await stranger.context.close();
  await page.goto('/files/inbox');
  await page.getByRole('button', { name: 'secret (1).txt', exact: true }).waitFor();
  await close();
});

test('a ticket shows nothing that could run, wherever it is opened', async () => {
  const { page, context, close } = await open('/files/look');
  const dialogs = [];
  context.on('dialog', (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  await page.getByRole('grid').waitFor();
  for (const name of ['c.html', 'd.svg', 'e.pdf']) {
    const href = await page.evaluate(async (path) => {
      const { csrf_token } = await (await fetch('/api/v1/session')).json();
      const headers = { 'Content-Type': 'application/json', 'X-CSRF-Token': csrf_token };
      return (await (await fetch('/api/v1/tickets', { method: 'POST', headers, body: JSON.stringify({ path }) })).json()).href;
    }, `look/${name}`);
    const other = await context.newPage();
    const ended = other.waitForEvent('download');
    // A download is no page: going there is given up.
    await other.goto(href).catch(() => {});
    assert.equal((await ended).suggestedFilename(), name);
    assert.equal(other.url(), 'about:blank');
    await other.close();
  }
  assert.deepEqual(dialogs, []);
  assert.notEqual(await page.title(), 'ran');
  await close();
});

test('the application frames nothing but its own page for PDFs, whatever a frame would show', async () => {
  const { page, context, complaints } = await open('/files/look');
  await page.getByRole('grid').waitFor();
  const framed = (src) =>
    page.evaluate(
      (src) =>
        new Promise((resolve) => {
          const made = src === 'blob' ? URL.createObjectURL(new Blob(['x'], { type: 'text/html' })) : src;
          const frame = Object.assign(document.createElement('iframe'), { src: made });
          addEventListener('securitypolicyviolation', ({ effectiveDirective }) => resolve(effectiveDirective), { once: true });
          // What a refused frame shows is nobody's: its document cannot be looked at.
          frame.onload = () => resolve(frame.contentDocument === null ? 'refused' : frame.contentDocument.URL);
          document.body.append(frame);
        }),
      src,
    );
  for (const elsewhere of ['https://127.0.0.1:1/', 'http://example.com/', 'data:text/html,x', 'blob']) {
    assert.equal(await framed(elsewhere), 'frame-src', elsewhere);
  }
  for (const own of ['/', '/files', '/healthz', '/api/v1/me', '/pdf/draw.js', '/pdf/other.html']) {
    const before = complaints.length;
    assert.equal(await framed(own), 'refused', own);
    const said = complaints.slice(before).join();
    assert.match(said, /frame-ancestors|X-Frame-Options/i, `${own}: ${said}`);
  }
  await context.close();
});
