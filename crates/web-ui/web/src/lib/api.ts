// What is asked of the server's REST interface, `/api/v1`, and what things are called here that its document names.

import { BASE } from './base';
import { addressOf, ask, troubleIn, type Query, type Schemas } from './ask';

export { Trouble } from './ask';

export type DriveEntry = Schemas['Entry'];
export type Version = Schemas['FileFacts'];
/** What kind of thing something is, by its name. */
export type FoundKind = Schemas['FoundKind'];
export type Trashed = Schemas['Trashed'];
/** A file that is on the server in part. */
export type Unfinished = Schemas['UnfinishedUpload'];
export type OnConflict = Schemas['OnConflict'];
/** A file that may be sent, and what the drive has of it. */
export type Asked = Schemas['AskedFile'];
export type KnownState = Schemas['KnownState'];

export type Role = Schemas['AccountRole'];
export type Scope = Schemas['TokenScope'];
/** Who is logged in. */
export type Me = Schemas['Me'];
export type Session = Schemas['Session'];
export type SessionEntry = Schemas['SessionEntry'];
export type Token = Schemas['Token'];
export type Device = Schemas['Device'];
export type Enrolment = Schemas['Enrolment'];
export type SecondFactor = Schemas['Begun'];
export type Account = Schemas['AccountEntry'];
export type SetupLink = Schemas['Link'];
export type AuditItem = Schemas['AuditItem'];
export type AuditEvent = Schemas['Event'];

export type Snapshot = Schemas['SnapshotItem'];
export type Chain = Schemas['ChainItem'];
export type SnapshotEntry = Schemas['SnapshotEntry'];
export type Difference = Schemas['Difference'];
/** Neighbouring snapshots in which a path has the same content. */
export type Span = Schemas['TimelineItem'];
/** A path in some snapshots of a chain, as the newest of them has it. */
export type FoundPath = Schemas['FoundPath'];
export type Rules = Schemas['Rules'];
export type Retention = Schemas['Retention'];
export type Verdict = Schemas['Verdict'];
export type Simulation = Schemas['Simulation'];
export type Job = Schemas['Job'];
/** A version of a file of the drive, or a file in a snapshot. */
export type Ticketed = { path: string; version: number } | { path: string; snapshot: string };

export type ActivityKind = Schemas['ActivityKind'];
/** Something that happened. */
export type News = Schemas['News'];
export type Transfer = Schemas['Shown'];
/** The first event of the stream. */
export type Hello = Schemas['Hello'];
/** What goes on at this moment. */
export type Now = Schemas['Now'];
export type SpanName = Schemas['Span'];
export type Point = Schemas['Point'];
export type Statistics = Schemas['Statistics'];
export type Alert = Schemas['Alert'];
export type DeviceHealth = Schemas['DeviceHealth'];
export type Health = Schemas['Health'];
/** How the server is doing. */
export type ServerReport = Schemas['ServerReport'];
export type Suspended = Schemas['Suspended'];
export type StoragePartKind = Schemas['StoragePartKind'];
export type Confirmable = Schemas['Confirmable'];
export type FileDigest = Schemas['FileDigest'];
export type ShareKind = Schemas['ShareKind'];
export type Share = Schemas['Share'];

/** Entries of the first page, so that it shows at once, and of the others. */
const FIRST_PAGE_LEN = 500;
const PAGE_LEN = 10_000;
const TRASH_PAGE_LEN = 1000;
/** Most that are deleted for good by one request. */
const PURGE_LEN = 1000;
/** A little less than the server takes. */
const ADDRESS_LEN_MAX = 8000;
const UPLOADS = `${BASE}/api/v1/uploads/`;

/** An entry's `path`, from names as people read them. */
export function joined(names: readonly string[]): string {
  return names.map(encodeURIComponent).join('/');
}

/** Where a file's bytes are. */
export function contentAddress(path: string, version?: number): string {
  return addressOf('/api/v1/files/{path}', { path: { path }, query: version === undefined ? {} : { version } });
}

/** Longest picture of which the server makes a small one. */
const THUMBNAIL_LEN_MAX = 8 * 1024 * 1024;

/** Where a small picture of a picture is. */
export function thumbnailAddress(path: string, version: number, size: number): string | undefined {
  return size <= THUMBNAIL_LEN_MAX ? addressOf('/api/v1/thumbnail', { query: { path, version } }) : undefined;
}

/** The same of a picture in a snapshot. */
export function snapshotThumbnailAddress(id: string, path: string, size: number): string | undefined {
  if (size > THUMBNAIL_LEN_MAX) return undefined;
  return addressOf('/api/v1/snapshots/{id}/thumbnail', { path: { id }, query: { path } });
}

/** Where an archive of these is; `undefined` when there are more than an address holds. */
export function archiveAddress(paths: string[]): string | undefined {
  const address = addressOf('/api/v1/zip', { query: { path: paths } });
  return address.length <= ADDRESS_LEN_MAX ? address : undefined;
}

/** Where a file of a snapshot is, or an archive of a folder of it. */
export function snapshotAddress(id: string, what: 'content' | 'archive', path: string): string {
  return addressOf(`/api/v1/snapshots/{id}/${what}`, { path: { id }, query: { path } });
}

/** All of the audit log that is asked for, as a file. */
export function auditAddress(query: Query<'/api/v1/audit'>): string {
  return addressOf('/api/v1/audit', { query });
}

/** The same of what happened lately. */
export function activityAddress(query: Query<'/api/v1/activity'>): string {
  return addressOf('/api/v1/activity', { query });
}

type Page<Item> = { items: Item[]; next: string | null; unreadable?: number };

/**
 * All pages, one after the other. `onItems` gets the first, which is short, and at the end everything there is; `unreadable`
 * counts damaged pages of folders that were passed over.
 */
async function pages<Item>(
  page: (which: { limit: number; cursor?: string }) => Promise<Page<Item>>,
  pageLen: number,
  signal: AbortSignal,
  onItems: (items: readonly Item[], unreadable: number) => void,
): Promise<void> {
  const items: Item[] = [];
  let unreadable = 0;
  let cursor: string | null = null;
  do {
    const found: Page<Item> = await page(cursor === null ? { limit: FIRST_PAGE_LEN } : { limit: pageLen, cursor });
    if (signal.aborted) return;
    const isFirst = cursor === null;
    items.push(...found.items);
    unreadable += found.unreadable ?? 0;
    cursor = found.next;
    if (isFirst || cursor === null) onItems([...items], unreadable);
  } while (cursor !== null);
}

/** All items of a list that is short as a rule. */
async function all<Item>(page: (which: { cursor?: string }) => Promise<Page<Item>>): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | null = null;
  do {
    const found: Page<Item> = await page(cursor === null ? {} : { cursor });
    items.push(...found.items);
    cursor = found.next;
  } while (cursor);
  return items;
}

export const api = {
  session: () => ask('get', '/api/v1/session'),
  logIn: (account: string, password: string, code?: string) =>
    ask('post', '/api/v1/session', { body: { account, password, ...(code === undefined ? {} : { code }) } }),
  logOut: () => ask('delete', '/api/v1/session'),
  setUp: (secret: string, account: string, password: string) => ask('post', '/api/v1/setup', { body: { secret, account, password } }),
  setPassword: (present: string, next: string) => ask('post', '/api/v1/me/password', { body: { present, new: next } }),
  beginSecondFactor: (password: string) => ask('post', '/api/v1/me/second-factor', { body: { password } }),
  confirmSecondFactor: (code: string) => ask('post', '/api/v1/me/second-factor/confirm', { body: { code } }),
  removeSecondFactor: (password: string) => ask('post', '/api/v1/me/second-factor/remove', { body: { password } }),
  sessions: () => all((query) => ask('get', '/api/v1/sessions', { query })),
  endSession: (id: string) => ask('delete', '/api/v1/sessions/{id}', { path: { id } }),
  endOtherSessions: () => ask('delete', '/api/v1/sessions'),
  tokens: () => all((query) => ask('get', '/api/v1/tokens', { query })),
  makeToken: (name: string, scope: Scope, expires_in_ms: number | null, password: string) =>
    ask('post', '/api/v1/tokens', { body: { name, scope, expires_in_ms, password } }),
  revokeToken: (id: string) => ask('delete', '/api/v1/tokens/{id}', { path: { id } }),
  devices: () => all((query) => ask('get', '/api/v1/devices', { query })),
  revokeDevice: (id: string) => ask('delete', '/api/v1/devices/{id}', { path: { id } }),
  invite: (device: string, scope: Scope) => ask('post', '/api/v1/enrolments', { body: { device, scope } }),
  accounts: () => all((query) => ask('get', '/api/v1/accounts', { query })),
  addAccount: (account: string, role: Role, quota_bytes: number | null) =>
    ask('post', '/api/v1/accounts', { body: { account, role, quota_bytes } }),
  changeAccount: (name: string, body: Schemas['ChangeBody']) => ask('patch', '/api/v1/accounts/{name}', { path: { name }, body }),
  makeSetupLink: (name: string) => ask('post', '/api/v1/accounts/{name}/setup-link', { path: { name } }),
  resetSecondFactor: (name: string) => ask('delete', '/api/v1/accounts/{name}/second-factor', { path: { name } }),
  audit: (query: Query<'/api/v1/audit'>) => ask('get', '/api/v1/audit', { query }),
  chains: () => all((query) => ask('get', '/api/v1/chains', { query })),
  snapshot: (id: string) => ask('get', '/api/v1/snapshots/{id}', { path: { id } }),
  snapshots: (query: Query<'/api/v1/snapshots'>) => ask('get', '/api/v1/snapshots', { query }),
  snapshotFolder: (
    id: string,
    path: string,
    signal: AbortSignal,
    onItems: (items: readonly SnapshotEntry[], unreadable: number) => void,
  ) =>
    pages(
      (page) => ask('get', '/api/v1/snapshots/{id}/entries', { path: { id }, query: { path, ...page }, signal }),
      PAGE_LEN,
      signal,
      onItems,
    ),
  searchSnapshot: (id: string, query: Query<'/api/v1/snapshots/{id}/search'>, signal: AbortSignal) =>
    ask('get', '/api/v1/snapshots/{id}/search', { path: { id }, query, signal }),
  searchSnapshots: (query: Query<'/api/v1/search/snapshots'>, signal: AbortSignal) =>
    ask('get', '/api/v1/search/snapshots', { query, signal }),
  diff: (id: string, query: Query<'/api/v1/snapshots/{id}/diff'>, signal: AbortSignal) =>
    ask('get', '/api/v1/snapshots/{id}/diff', { path: { id }, query, signal }),
  timeline: (id: string, query: Query<'/api/v1/chains/{id}/timeline'>) =>
    ask('get', '/api/v1/chains/{id}/timeline', { path: { id }, query }),
  changeSnapshot: (id: string, wish: 'forget' | 'undelete' | 'hold' | 'unhold') => {
    const path = { id };
    switch (wish) {
      case 'forget':
        return ask('delete', '/api/v1/snapshots/{id}', { path });
      case 'undelete':
        return ask('post', '/api/v1/snapshots/{id}/undelete', { path });
      case 'hold':
        return ask('put', '/api/v1/snapshots/{id}/hold', { path });
      case 'unhold':
        return ask('delete', '/api/v1/snapshots/{id}/hold', { path });
    }
  },
  defaultRetention: () => ask('get', '/api/v1/retention'),
  setDefaultRetention: (rules: Rules | null, password: string) => ask('put', '/api/v1/retention', { body: { rules, password } }),
  retention: (id: string) => ask('get', '/api/v1/chains/{id}/retention', { path: { id } }),
  setRetention: (id: string, rules: Rules | null, password: string) =>
    ask('put', '/api/v1/chains/{id}/retention', { path: { id }, body: { rules, password } }),
  simulateRetention: (id: string, rules: Rules | null) =>
    ask('post', '/api/v1/chains/{id}/retention/simulate', { path: { id }, body: { rules } }),
  confirmChange: (id: string, snapshot: string) =>
    ask('post', '/api/v1/chains/{id}/confirm-change', { path: { id }, body: { snapshot } }),
  jobs: async () => (await ask('get', '/api/v1/jobs')).items,
  startJob: (kind: Job['kind']) => ask('post', '/api/v1/jobs', { body: { kind } }),
  cancelJob: (number: number) => ask('delete', '/api/v1/jobs/{number}', { path: { number: String(number) } }),
  activity: async (query: Query<'/api/v1/activity'>) => (await ask('get', '/api/v1/activity', { query })).items,
  statistics: (span: SpanName) => ask('get', '/api/v1/statistics', { query: { span } }),
  health: () => ask('get', '/api/v1/health'),
  server: () => ask('get', '/api/v1/server'),
  confirmWaiting: (what: Confirmable, id: string | undefined, password: string) =>
    ask('post', '/api/v1/server/confirm', { body: { what, ...(id === undefined ? {} : { id }), password } }),
  folder: (path: string, signal: AbortSignal, onItems: (items: readonly DriveEntry[]) => void) =>
    pages((page) => ask('get', '/api/v1/folder', { query: { path, ...page }, signal }), PAGE_LEN, signal, onItems),
  /** Folders in a folder, of what is on its first page; whether there is more. */
  someFolders: async (path: string) => {
    const { items, next } = await ask('get', '/api/v1/folder', { query: { path, limit: PAGE_LEN } });
    return { folders: items.filter((item) => item.kind === 'folder'), isMore: next !== null };
  },
  /** The same in a folder of a snapshot. */
  someFoldersOf: async (id: string, path: string) => {
    const { items, next } = await ask('get', '/api/v1/snapshots/{id}/entries', { path: { id }, query: { path, limit: PAGE_LEN } });
    return { folders: items.filter((item) => item.kind === 'folder'), isMore: next !== null };
  },
  versions: (path: string) => all((page) => ask('get', '/api/v1/versions', { query: { path, ...page } })),
  /** Refused when the file has another version than `present_version` by now. */
  restoreVersion: (path: string, version: number, present_version: number | null = null) =>
    ask('post', '/api/v1/versions/restore', { body: { path, version, present_version } }),
  search: (wanted: Query<'/api/v1/search'>, cursor: string | null, signal?: AbortSignal) =>
    ask('get', '/api/v1/search', { query: { ...wanted, ...(cursor === null ? {} : { cursor }) }, ...(signal && { signal }) }),
  sha256: (path: string, version: number) => ask('get', '/api/v1/sha256', { query: { path, version } }),
  sha256OfSnapshot: (id: string, path: string) => ask('get', '/api/v1/snapshots/{id}/sha256', { path: { id }, query: { path } }),
  shares: () => all((query) => ask('get', '/api/v1/shares', { query })),
  share: (body: Schemas['ShareBody']) => ask('post', '/api/v1/shares', { body }),
  revokeShare: (id: string) => ask('delete', '/api/v1/shares/{id}', { path: { id } }),
  ticket: (file: Ticketed) => ask('post', '/api/v1/tickets', { body: file }),
  /** The first `len` bytes of a file that is not empty, as text. */
  text: async (href: string, len: number, signal: AbortSignal) => {
    const response = await fetch(href, { headers: { Range: `bytes=0-${len - 1}` }, signal });
    if (!response.ok) throw troubleIn(response.status, await response.text());
    return new TextDecoder().decode(await response.arrayBuffer());
  },
  /** All bytes at an address. */
  bytes: async (href: string, signal: AbortSignal) => {
    const response = await fetch(href, { signal });
    if (!response.ok) throw troubleIn(response.status, await response.text());
    return response.arrayBuffer();
  },
  makeFolder: (path: string) => ask('post', '/api/v1/folder', { body: { path } }),
  move: (from: string, to: string) => ask('post', '/api/v1/move', { body: { from, to } }),
  copy: (from: string, to: string) => ask('post', '/api/v1/copy', { body: { from, to } }),
  remove: (path: string) => ask('delete', '/api/v1/files/{path}', { path: { path } }),
  trash: (signal: AbortSignal, onItems: (items: readonly Trashed[]) => void) =>
    pages((page) => ask('get', '/api/v1/trash', { query: page, signal }), TRASH_PAGE_LEN, signal, onItems),
  /** Deletes for good, before its time; how many things it were. */
  purge: async (ids: readonly string[], password: string) => {
    let count = 0;
    for (let start = 0; start < ids.length; start += PURGE_LEN) {
      const body = { ids: ids.slice(start, start + PURGE_LEN), password };
      count += (await ask('post', '/api/v1/trash/purge', { body })).purged;
    }
    return count;
  },
  /** Brings back exactly one thing of the trash, or what was removed from a path last. */
  restore: (body: { id: string; keep_both?: boolean } | { path: string }) => ask('post', '/api/v1/trash/restore', { body }),
  known: async (files: Asked[]) => (await ask('post', '/api/v1/known', { body: { files } })).states,
  /** Makes a file of bytes that the drive has already. */
  place: (body: Schemas['PlaceBody']) => ask('post', '/api/v1/place', { body }),
  unfinished: async () => (await ask('get', '/api/v1/uploads')).items,
  giveUp: (href: string) =>
    ask('delete', '/api/v1/uploads/{id}', { path: { id: href.slice(UPLOADS.length) }, headers: { 'Tus-Resumable': '1.0.0' } }),
};
