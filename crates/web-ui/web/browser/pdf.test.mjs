// PDFs that are looked at: drawn in a frame without an origin, by a script that has their bytes and nothing else.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { assertAccessible, assertFits, logIn, openContext, openPage, picture, startBrowser, startServer } from './machine.mjs';

const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } };
const SCRIPT =
  'app.alert("ran"); app.launchURL("https://127.0.0.1:1/x", true); this.submitForm("https://127.0.0.1:1/y"); this.getURL("/api/v1/me");';

/** A PDF of such objects, the first of which is its catalogue. */
function pdfOf(objects, trailer = '') {
  const starts = [];
  let file = '%PDF-1.7\n';
  for (const [index, object] of objects.entries()) {
    starts.push(`${String(file.length).padStart(10, '0')} 00000 n \n`);
    file += `${index + 1} 0 obj\n${object}\nendobj\n`;
  }
  const size = objects.length + 1;
  return Buffer.from(
    `${file}xref\n0 ${size}\n0000000000 65535 f \n${starts.join('')}trailer\n<</Size ${size}/Root 1 0 R${trailer}>>\nstartxref\n${file.length}\n%%EOF\n`,
    'latin1',
  );
}

const stream = (text, more = '') => `<<${more}/Length ${Buffer.byteLength(text, 'latin1')}>>stream\n${text}\nendstream`;

/** So many pages of A4 with text in fonts that are not in it and a red square, and scripts wherever a PDF has them. */
function letter(pages) {
  const kids = Array.from({ length: pages }, (_, index) => 6 + 2 * index);
  const objects = [
    `<</Type/Catalog/Pages 2 0 R/OpenAction 3 0 R/AA<</WC 3 0 R/DP 3 0 R>>/Names<</JavaScript<</Names[(x) 3 0 R]>>>>>>`,
    `<</Type/Pages/Count ${pages}/Kids[${kids.map((kid) => `${kid} 0 R`).join(' ')}]>>`,
    `<</S/JavaScript/JS(${SCRIPT.replace(/[()]/g, '\\$&')})>>`,
    '<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>',
    '<</Type/Font/Subtype/Type1/BaseFont/ZapfDingbats>>',
  ];
  for (const [index, kid] of kids.entries()) {
    const content =
      `1 0 0 rg 400 700 100 100 re f 0 g BT /F 36 Tf 60 740 Td (Letter ${index + 1}) Tj ET ` +
      `BT /Z 60 Tf 300 710 Td (4) Tj ET ` +
      Array.from({ length: 30 }, (_, line) => `BT /F 12 Tf 60 ${640 - 18 * line} Td (Line ${line + 1} of what somebody wrote, in a font that this file does not bring.) Tj ET`).join('\n');
    objects.push(
      `<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents ${kid + 1} 0 R/Resources<</Font<</F 4 0 R/Z 5 0 R>>>>/AA<</O 3 0 R>>/Annots[<</Type/Annot/Subtype/Link/Rect[0 0 595 842]/A 3 0 R>>]>>`,
      stream(content),
    );
  }
  return pdfOf(objects);
}

/** A page of text by the numbers of a table that the PDF does not bring. */
const japanese = pdfOf([
  '<</Type/Catalog/Pages 2 0 R>>',
  '<</Type/Pages/Count 1/Kids[3 0 R]>>',
  '<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>',
  stream('BT /F 40 Tf 20 30 Td <65E5672C8A9E> Tj ET'),
  '<</Type/Font/Subtype/Type0/BaseFont/HeiseiMin-W3/Encoding/UniJIS-UCS2-H/DescendantFonts[6 0 R]>>',
  '<</Type/Font/Subtype/CIDFontType0/BaseFont/HeiseiMin-W3/CIDSystemInfo<</Registry(Adobe)/Ordering(Japan1)/Supplement 2>>/FontDescriptor 7 0 R>>',
  '<</Type/FontDescriptor/FontName/HeiseiMin-W3/Flags 4/FontBBox[0 -200 1000 900]/ItalicAngle 0/Ascent 800/Descent -200/CapHeight 700/StemV 80>>',
]);

/** Asks for a password: its dictionary of encryption is right in form, and no password fits. */
const locked = pdfOf(
  [
    '<</Type/Catalog/Pages 2 0 R>>',
    '<</Type/Pages/Count 1/Kids[3 0 R]>>',
    '<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>',
    `<</Filter/Standard/V 1/R 2/P -4/O<${'ab'.repeat(32)}>/U<${'cd'.repeat(32)}>>>`,
  ],
  `/Encrypt 4 0 R/ID[<${'01'.repeat(16)}><${'01'.repeat(16)}>]`,
);

const files = {
  'papers/a.pdf': letter(12),
  'papers/b.pdf': '<!doctype html><h1>no PDF</h1><script>alert("ran")</script>',
  'papers/c.pdf': locked,
  'papers/d.txt': 'after them\n',
  'more/half.pdf': letter(1).subarray(0, 300),
  'more/empty.pdf': '',
  'more/jp.pdf': japanese,
  'more/long.pdf': Buffer.concat([letter(1), Buffer.alloc(64 << 20)]),
};

let server;
let browser;
let storageState;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
  const token = server.admin('token', 'add', 'test', '--scope', 'admin');
  storageState = await logIn(server, browser);
  const context = await openContext(browser, { ignoreHTTPSErrors: true, baseURL: server.url });
  for (const [path, data] of Object.entries(files)) {
    const answer = await context.request.put(`/api/v1/files/${path}`, { data, headers: { Authorization: `Bearer ${token}` } });
    assert.ok(answer.ok(), await answer.text());
  }
  await context.close();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const open = (path, options) => openPage(browser, server, path, { storageState, ...options });

/** The frame of the PDF that is shown, when its first page is drawn. */
async function drawn(page) {
  await page.locator('iframe').waitFor();
  const frame = page.frames().find((one) => one.url().endsWith('/pdf/page.html')) ?? (await page.waitForEvent('framenavigated'));
  await frame.locator('canvas').first().waitFor();
  return frame;
}

/** How many pixels of the page in the frame are of about such a colour, as parts of all. */
function part(frame, number, [red, green, blue]) {
  return frame.evaluate(
    ({ number, wanted }) => {
      const canvas = document.querySelectorAll('figure')[number].querySelector('canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let found = 0;
      for (let at = 0; at < data.length; at += 4) {
        if (wanted.every((value, index) => Math.abs(data[at + index] - value) < 40)) found += 1;
      }
      return found / (data.length / 4);
    },
    { number, wanted: [red, green, blue] },
  );
}

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ['light', 'dark']) {
    test(`a PDF is drawn page by page: ${colorScheme}, ${size}`, async () => {
      const { page, close } = await open('/files/papers', { viewport, colorScheme });
      await page.getByRole('button', { name: 'a.pdf', exact: true }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByText('Page 1 of 12').waitFor();
      const frame = await drawn(page);
      // A red square of 100 × 100 points, text, a sign of a font of symbols, and otherwise paper.
      const red = await part(frame, 0, [255, 0, 0]);
      assert.ok(Math.abs(red - 10_000 / (595 * 842)) < 0.003, `${red} is red`);
      const black = await part(frame, 0, [0, 0, 0]);
      assert.ok(black > 0.001 && black < 0.2, `${black} is black`);
      await frame.getByText('Line 30 of what somebody wrote').first().waitFor();
      await picture(page, `pdf-${colorScheme}-${size}`);
      await assertFits(page);
      await assertAccessible(page, 'around the frame');
      await assertAccessible(frame, 'in the frame');

      // Only what is near is kept drawn.
      await frame.evaluate(() => document.querySelectorAll('figure')[11].scrollIntoView());
      await dialog.getByText('Page 12 of 12').waitFor();
      await frame.getByText('Letter 12').waitFor();
      await frame.waitForFunction(() => document.querySelectorAll('figure')[0].querySelector('canvas') === null);
      assert.ok((await frame.locator('canvas').count()) <= 8);

      const width = () => frame.evaluate(() => document.querySelectorAll('figure')[11].clientWidth);
      const before = await width();
      await dialog.getByRole('button', { name: 'Larger' }).click();
      await frame.waitForFunction((before) => document.querySelectorAll('figure')[11].clientWidth > before * 1.4, before);
      await dialog.getByText('Page 12 of 12').waitFor();
      await picture(page, `pdf-larger-${colorScheme}-${size}`);
      await assertFits(page);
      await close();
    });

    test(`what is no PDF that can be shown says so, and is there to be saved: ${colorScheme}, ${size}`, async () => {
      const { page, close } = await open('/files/papers', { viewport, colorScheme });
      await page.getByRole('button', { name: 'b.pdf', exact: true }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByText('It is broken').waitFor();
      await picture(page, `pdf-broken-${colorScheme}-${size}`);
      await assertFits(page);
      await assertAccessible(page);
      const [download] = await Promise.all([page.waitForEvent('download'), dialog.getByRole('link', { name: 'Save it' }).click()]);
      assert.equal(download.suggestedFilename(), 'b.pdf');
      await page.keyboard.press('ArrowRight');
      await dialog.getByText('A password protects it').waitFor();
      await page.keyboard.press('ArrowRight');
      await dialog.getByText('after them').waitFor();
      await close();
    });
  }
}

test('PDFs that are cut off, empty or too long say so; one of another alphabet is drawn', async () => {
  const { page, close } = await open('/files/more');
  const asked = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
  const dialog = page.getByRole('dialog');
  for (const [name, text] of [['empty.pdf', 'It is broken'], ['half.pdf', 'It is broken'], ['long.pdf', 'It is longer than 64.0 MiB']]) {
    await page.getByRole('button', { name, exact: true }).click();
    await dialog.getByText(text).waitFor();
    await dialog.getByRole('link', { name: 'Save it' }).waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
  }
  await page.getByRole('button', { name: 'jp.pdf', exact: true }).click();
  const frame = await drawn(page);
  await frame.getByText('日本語').waitFor();
  assert.ok(asked.includes('/pdf/data/UniJIS-UCS2-H.bcmap'), `${asked}`);
  await close();
});

test('nothing in a PDF runs, and the frame has no origin, no way out and no secrets', async () => {
  const { page, context } = await open('/files/papers');
  const dialogs = [];
  context.on('dialog', (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  await page.getByRole('grid').waitFor();
  const asked = [];
  context.on('request', (request) => asked.push({ url: request.url(), frame: request.frame() }));
  await page.getByRole('button', { name: 'a.pdf', exact: true }).click();
  const frame = await drawn(page);
  await frame.getByText('Letter 1', { exact: true }).waitFor();
  // A click where the link with the script is.
  await page.locator('iframe').click({ position: { x: 200, y: 200 } });

  const found = await frame.evaluate(async () => {
    const tried = async (act) => {
      try {
        return String(await act());
      } catch (error) {
        return error.name;
      }
    };
    return {
      origin: self.origin,
      dom: await tried(() => parent.document.title),
      cookie: await tried(() => document.cookie),
      storage: await tried(() => localStorage.length),
      request: await tried(() => fetch('/api/v1/session')),
      // What DevTools run may evaluate; what the page runs may not.
      evaluation: await new Promise((done) => setTimeout(() => tried(() => (0, eval)('1')).then(done))),
      worker: await tried(() => new Worker(URL.createObjectURL(new Blob(['']))).constructor.name),
      markup: await tried(() => (document.createElement('div').innerHTML = '<b>')),
      // No dialog shows, and no window opens.
      alert: await tried(() => alert('ran')),
      window: await tried(() => window.open('/')),
      top: await tried(() => (parent.location.href = 'https://127.0.0.1:1/out')),
    };
  });
  assert.equal(found.origin, 'null');
  for (const what of ['dom', 'cookie', 'storage', 'top']) assert.equal(found[what], 'SecurityError', what);
  assert.equal(found.request, 'TypeError');
  assert.equal(found.evaluation, 'EvalError');
  assert.equal(found.markup, 'TypeError');
  assert.notEqual(found.worker, 'Worker');
  assert.deepEqual([found.alert, found.window], ['undefined', 'null']);
  assert.deepEqual(dialogs, []);
  const paths = asked.filter((one) => one.frame === frame).map((one) => new URL(one.url).pathname);
  assert.deepEqual(paths.sort(), ['/pdf/draw.js', '/pdf/page.html']);
  assert.ok(asked.every(({ url }) => url.startsWith(server.url) || url.startsWith('blob:')), JSON.stringify(asked.map(({ url }) => url)));
  assert.equal(context.pages().length, 1);
  // What was tried above, the browser complained of.
  await context.close();
});

test('other windows get nothing drawn, and are not listened to', async () => {
  const { page, close } = await open('/files/papers');
  await page.getByRole('button', { name: 'a.pdf', exact: true }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Page 1 of 12').waitFor();
  const frame = await drawn(page);
  // The application itself says what only the frame may say.
  await page.evaluate(() => postMessage({ kind: 'failed', reason: 'broken' }, '*'));
  // And the frame hears itself.
  await frame.evaluate(() => postMessage({ kind: 'zoom', factor: 9 }, '*'));
  await frame.evaluate(() => new Promise((done) => setTimeout(done, 200)));
  await dialog.getByText('Page 1 of 12').waitFor();
  assert.equal(await frame.evaluate(() => document.documentElement.style.getPropertyValue('--zoom')), '');
  // Keys that are pressed in the frame mean the application.
  await page.locator('iframe').click();
  await page.keyboard.press('ArrowRight');
  await dialog.getByRole('heading', { name: 'b.pdf' }).waitFor();
  await page.keyboard.press('ArrowLeft');
  await dialog.getByText('Page 1 of 12').waitFor();
  await page.locator('iframe').click();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  await close();
});

test('the script is loaded with the first PDF, and kept', async () => {
  const { page, close } = await open('/files/papers');
  const asked = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
  await page.getByRole('button', { name: 'd.txt', exact: true }).click();
  await page.getByText('after them').waitFor();
  assert.ok(!asked.some((path) => path.startsWith('/pdf/') || path.includes('Pdf')), `${asked}`);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'a.pdf', exact: true }).click();
  await page.getByText('Page 1 of 12').waitFor();
  assert.ok(asked.includes('/pdf/draw.js'));
  await close();
});
