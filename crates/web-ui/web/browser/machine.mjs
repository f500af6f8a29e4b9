// What browser tests need of the machine: the real server on a free port of its own, Chromium, pages of it, and what holds of
// every page. Machines that test are slow: whatever a page is to show is waited for, and nothing is looked at only once.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';

import axe from 'axe-core';
import { chromium } from 'playwright-core';

const BUILT = new URL('../../../../target/debug/backup-server', import.meta.url).pathname;
const START_MS = 60_000;
/** Longest wait for what a page is to show. */
const PATIENCE_MS = 60_000;

/** Starts `backup-server serve` in a new data directory, with more settings. `stop` ends it and removes everything. */
export async function startServer(...settings) {
  const program = process.env.BACKUP_SERVER_PROGRAM ?? BUILT;
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`cargo build -p server-bin\``);
  const folder = mkdtempSync(join(tmpdir(), 'web-ui-'));
  let child;
  const start = (listen) => {
    child = spawn(program, ['serve', '--data-dir', join(folder, 'data'), '--listen', listen, ...settings], { stdio: ['ignore', 'pipe', 'pipe'] });
    return heard(child);
  };
  const end = async () => {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
  };
  const url = await start('127.0.0.1:0');
  const admin = (...words) =>
    execFileSync(program, [...words, '--data-dir', join(folder, 'data')], { encoding: 'utf8' }).trim();
  return {
    url,
    folder,
    pid: child.pid,
    /** Of accounts that logged in. */
    passwords: {},
    /** An administrator's command, and what it printed. */
    admin,
    /** A device: its `backup-client` runs a command to its end. */
    device(name) {
      const home = join(folder, name);
      mkdirSync(home, { recursive: true });
      const client = process.env.BACKUP_CLIENT_PROGRAM ?? join(dirname(program), 'backup-client');
      if (!existsSync(client)) throw new Error(`${client} is missing: run \`cargo build -p client-bin\``);
      const env = { PATH: process.env.PATH, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: join(home, 'cache'), XDG_STATE_HOME: home };
      const run = async (...words) => (await promisify(execFile)(client, words, { env, encoding: 'utf8' })).stdout;
      // `address` is that of something before the server.
      const connect = (...address) => run('connect', admin('enroll', '--device', name, ...address.flatMap((place) => ['--address', place])));
      return { home, run, connect };
    },
    /** Does something while the server does not run; afterwards it is where it was. */
    async restart(act) {
      await end();
      await act();
      await start(new URL(url).host);
    },
    async stop() {
      await end();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Where a server that was just started says that it listens. */
function heard(child) {
  let said = '';
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`the server did not start:\n${said}`)), START_MS);
    const hear = (bytes) => {
      said += bytes;
      const found = /listening on (\S+)/.exec(said);
      if (!found) return;
      clearTimeout(late);
      resolve(found[1]);
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`the server ended with ${code}:\n${said}`)));
  });
}

/** A way to the server that lets so many bytes through in a second until it is told to `hurry`: time to look at what goes on. */
export async function startSlowWay(server, bytesPerSecond) {
  const { hostname, port } = new URL(server.url);
  let rate = bytesPerSecond;
  const way = createServer((near) => {
    const far = connect(Number(port), hostname);
    near.on('data', (bytes) => {
      near.pause();
      far.write(bytes);
      setTimeout(() => near.resume(), (bytes.length / rate) * 1000);
    });
    near.on('end', () => far.end());
    far.pipe(near);
    for (const [one, other] of [[near, far], [far, near]]) one.on('error', () => other.destroy());
  });
  way.listen(0, '127.0.0.1');
  await once(way, 'listening');
  return { address: `127.0.0.1:${way.address().port}`, hurry: () => (rate = Infinity), stop: () => way.close() };
}

/** Chromium as Debian installs it, or the one that CHROMIUM names. */
export async function startBrowser() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  const found = folders.flatMap((folder) => names.map((name) => join(folder, name))).find(existsSync);
  const executablePath = process.env.CHROMIUM ?? found;
  if (!executablePath) throw new Error('Chromium is missing: `apt-get install chromium`, or set CHROMIUM to one');
  // Chromium's own sandbox refuses to run as root, as which containers run.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath, args, timeout: PATIENCE_MS });
}

/** A context of `browser` that waits as long as slow machines need. */
export async function openContext(browser, options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE_MS);
  return context;
}

/** What a browser keeps after a login with a new password, which the server remembers for tests that are asked for it again:
 * give it to contexts as `storageState`. */
export async function logIn(server, browser, account = 'admin') {
  const password = server.admin('account', 'password', account);
  server.passwords[account] = password;
  const context = await openContext(browser, { ignoreHTTPSErrors: true, baseURL: server.url });
  const answer = await context.request.post('/api/v1/session', { data: { account, password } });
  if (!answer.ok()) throw new Error(`the login was refused: ${await answer.text()}`);
  const state = await context.storageState();
  await context.close();
  return state;
}

/** A page in a context of its own. `close` finds fault with whatever the browser complained of. */
export async function openPage(browser, server, path, options = {}) {
  const context = await openContext(browser, { ignoreHTTPSErrors: true, baseURL: server.url, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', (dialog) => {
    if (dialog.type() === 'beforeunload') return void dialog.accept();
    complaints.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  if (path !== undefined) await page.goto(path);
  const close = async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  };
  return { page, context, complaints, close };
}

/** Nothing that axe finds fault with, in colours as they are when they have stopped changing. */
export async function assertAccessible(page, name) {
  await page.waitForFunction(() => document.getAnimations().every((one) => one.effect?.getTiming().iterations === Infinity));
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => window.axe.run());
  assert.deepEqual(found.violations.map((fault) => `${fault.id}: ${fault.nodes.map((node) => node.html)}`), [], name);
}

/** Nothing is wider than the window. */
export async function assertFits(page, name = 'the page') {
  const { width } = page.viewportSize();
  const fits = page.waitForFunction((width) => document.documentElement.scrollWidth <= width, width, { timeout: PATIENCE_MS });
  await fits.catch(async () => {
    const own = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.fail(`${name} is ${own} pixels wide, and the window ${width}`);
  });
}

/** Where pictures of screens go: the folder that SCREENSHOTS names, if it does. */
export async function picture(page, name, options = {}) {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ ...options, path: join(folder, `${name}.png`) });
}

/** Drops files and folders of this machine on the middle of the page as the window system would: only the browser itself can say
 * that what is dropped is a folder, and read a file of any size where it lies. */
export async function dropOn(page, ...files) {
  const session = await page.context().newCDPSession(page);
  const { width, height } = page.viewportSize();
  const data = { items: [], files, dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop']) {
    await session.send('Input.dispatchDragEvent', { type, x: width / 2, y: height / 2, data });
  }
  await session.detach();
}
