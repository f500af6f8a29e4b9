// Components by themselves in the real browser: what would need 100,000 files on a server, or transfers that fail on cue.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import axe from 'axe-core';
import { createServer } from 'vite';

import { openContext, picture, startBrowser } from './machine.mjs';

let vite;
let browser;

before(async () => {
  vite = await createServer({ server: { port: 0, host: '127.0.0.1' }, logLevel: 'error' });
  await vite.listen();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await vite?.close();
});

async function open(query, options = {}) {
  const context = await openContext(browser, { viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${vite.httpServer.address().port}/browser/harness/index.html?${query}`);
  await page.getByRole('grid').waitFor();
  const says = (text) => page.locator('#state').filter({ hasText: text }).waitFor();
  return { page, says, close: () => context.close() };
}

async function assertAccessible(page) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => window.axe.run());
  assert.deepEqual(found.violations.map((fault) => `${fault.id}: ${fault.nodes.map((node) => node.html)}`), []);
}

test('100,000 rows are few elements, and the end is reached with one key', async () => {
  const { page, says, close } = await open('rows=100000');
  const rowCount = await page.getByRole('row').count();
  assert.ok(rowCount < 60, `${rowCount} rows are elements`);
  assert.equal(await page.getByRole('grid').getAttribute('aria-rowcount'), '100001');
  await page.getByRole('grid').focus();
  await page.keyboard.press('End');
  await page.getByRole('button', { name: 'file 99999.txt', exact: true }).waitFor();
  await page.keyboard.press('Control+a');
  await says(/^100000 selected/);
  await page.keyboard.press('Escape');
  await says(/^0 selected/);
  await close();
});

test('the list is worked by keyboard alone', async () => {
  const { page, says, close } = await open('rows=200');
  await page.getByRole('grid').focus();
  for (const key of ['ArrowDown', 'ArrowDown', 'Shift+ArrowDown', 'Shift+ArrowDown']) await page.keyboard.press(key);
  await says(/^3 selected, current folder 150/);
  await page.keyboard.press('Space');
  await says(/^2 selected/);
  await page.keyboard.press('Enter');
  await says(/opened folder 150/);
  await close();
});

test('clicks select as in a file manager, and menus act on their row', async () => {
  const { page, says, close } = await open('rows=200');
  await page.getByText('file 1.txt', { exact: true }).click();
  await says(/opened file 1.txt/);
  await page.getByRole('row', { name: 'file 2.txt' }).getByRole('gridcell').nth(2).click();
  await page.getByRole('row', { name: 'file 4.txt' }).getByRole('gridcell').nth(2).click({ modifiers: ['Shift'] });
  await says(/^3 selected, current file 4.txt/);
  await page.getByRole('button', { name: 'Actions for file 3.txt' }).click();
  await page.keyboard.press('ArrowDown');
  await picture(page, 'list-menu');
  await page.keyboard.press('Enter');
  await says(/chosen trash file 3.txt/);
  await close();
});

test('columns sort in both directions', async () => {
  const { page, close } = await open('rows=200');
  const size = page.getByRole('columnheader', { name: 'Size' });
  for (const direction of ['descending', 'ascending']) {
    await size.getByRole('button').click();
    await size.and(page.locator(`[aria-sort=${direction}]`)).waitFor();
  }
  await close();
});

test('the upload panel tells what runs, what failed and why, and what was there already', async () => {
  const { page, close } = await open('rows=30&uploads=8');
  await page.evaluate(() => {
    const { running } = window;
    running.get('holidays/picture 0.jpg').reports.ended('stored');
    running.get('holidays/picture 1.jpg').reports.ended('identical');
    running.get('holidays/picture 2.jpg').reports.failed('there is no room for it');
    running.get('holidays/picture 3.jpg').reports.sent(900);
  });
  const panel = page.getByRole('region', { name: 'Uploads' });
  await panel.getByText('Uploading 5 files').waitFor();
  await panel.getByText('there is no room for it').waitFor();
  await panel.getByText('1 failed').waitFor();
  await picture(page, 'uploads');
  await assertAccessible(page);
  await panel.getByRole('button', { name: 'Pause all' }).click();
  await panel.getByText('6 files not uploaded').waitFor();
  await panel.getByRole('button', { name: 'Go on with all' }).click();
  await panel.getByText('Uploading 6 files').waitFor();
  await close();
});

for (const [name, options] of Object.entries({
  light: { colorScheme: 'light' },
  dark: { colorScheme: 'dark' },
  phone: { colorScheme: 'light', viewport: { width: 360, height: 740 } },
})) {
  test(`the list is accessible: ${name}`, async () => {
    const { page, close } = await open('rows=200', options);
    await page.getByRole('checkbox', { name: 'Select folder 50' }).check();
    await picture(page, `list-${name}`);
    await assertAccessible(page);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= page.viewportSize().width, `the page is ${width} pixels wide`);
    await close();
  });
}
