// Lighthouse on the screens that people see first, as on a desk and as on a phone: at least 95 of 100 for accessibility and
// for best practices.
//
// Arguments: the server's address, the password of `admin`, a folder to work in, Chromium, `backup-client`, and an enrolment
// string for it.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import lighthouse, { desktopConfig } from 'lighthouse';
import puppeteer from 'puppeteer-core';

const [address, password, home, chromium, client, enrolment] = process.argv.slice(2);
const SCORE_MIN = 95;
const CATEGORIES = ['accessibility', 'best-practices'];
const FORMS = { desktop: desktopConfig, phone: undefined };

/** A device that has backed something up, so that there is something on the screens. */
function backUp() {
  const folder = join(home, 'documents');
  mkdirSync(folder);
  for (const name of ['letter.txt', 'notes.txt']) writeFileSync(join(folder, name), `this is ${name}\n`.repeat(100));
  const env = { PATH: process.env.PATH, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: join(home, 'cache'), XDG_STATE_HOME: home };
  for (const words of [['connect', enrolment], ['backup', folder]]) execFileSync(client, words, { env });
}

/** In a page of the application: logs in, puts files on the drive and shares a folder of it. Returns the link. */
async function prepare(password) {
  const json = { 'Content-Type': 'application/json' };
  const ask = async (method, path, body, headers) => {
    const answer = await fetch(`/api/v1/${path}`, { method, body, headers });
    if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
    return answer.json();
  };
  const session = await ask('POST', 'session', JSON.stringify({ account: 'admin', password }), json);
  const guard = { 'X-CSRF-Token': session.csrf_token };
  for (const name of ['plan.txt', 'list.txt']) await ask('PUT', `files/shared/${name}`, `this is ${name}\n`, guard);
  const share = { kind: 'download', path: 'shared', expires_in_ms: 86_400_000 };
  return (await ask('POST', 'shares', JSON.stringify(share), { ...json, ...guard })).link;
}

/** Scores of a screen, on which `text` has to be: else it is another. */
async function audit(context, [name, url, text], form) {
  const page = await context.newPage();
  // The dashboard's stream of events never ends: longer waits tell nothing more.
  const flags = { onlyCategories: CATEGORIES, disableStorageReset: true, maxWaitForLoad: 15_000, logLevel: 'error' };
  const { lhr } = await lighthouse(url, flags, FORMS[form], page);
  if (lhr.runtimeError) throw new Error(`${name}, ${form}: ${lhr.runtimeError.message}`);
  await page.waitForFunction((text) => document.body.innerText.includes(text), {}, text);
  await page.close();
  const scores = CATEGORIES.map((category) => Math.round(100 * lhr.categories[category].score));
  console.log(`${name.padEnd(10)} ${form.padEnd(8)} ${CATEGORIES.map((category, at) => `${category} ${scores[at]}`).join(', ')}`);
  for (const category of CATEGORIES) {
    for (const { id, weight } of lhr.categories[category].auditRefs) {
      const found = lhr.audits[id];
      if (weight === 0 || found.score === null || found.score === 1) continue;
      const where = (found.details?.items ?? []).map((item) => item.node?.snippet ?? item.description ?? item.issueType ?? JSON.stringify(item));
      console.log(`  ${id}: ${found.title}: ${where.slice(0, 3).join(' | ')}`);
    }
  }
  return Math.min(...scores);
}

backUp();
const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
const browser = await puppeteer.launch({ executablePath: chromium, args });
try {
  const stranger = await browser.createBrowserContext();
  const known = await browser.createBrowserContext();
  const page = await known.newPage();
  await page.goto(address);
  const link = await page.evaluate(prepare, password);
  await page.close();
  const screens = [
    [stranger, ['login', `${address}/`, 'Log in']],
    [stranger, ['share', link, 'plan.txt']],
    [known, ['dashboard', `${address}/`, 'Dashboard']],
    [known, ['files', `${address}/files`, 'shared']],
    [known, ['backups', `${address}/backups`, 'laptop']],
    [known, ['settings', `${address}/settings`, 'About']],
  ];
  let least = 100;
  for (const [context, screen] of screens) {
    for (const form of Object.keys(FORMS)) least = Math.min(least, await audit(context, screen, form));
  }
  if (least < SCORE_MIN) throw new Error(`the least score is ${least}, and at least ${SCORE_MIN} is wanted`);
} finally {
  await browser.close();
}
