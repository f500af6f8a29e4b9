// The tree of folders: the drive, and beside it what the devices backed up, down to the folders of each snapshot. It outlives a
// change of screens: what was opened stays open.

import { api, type Chain, type DriveEntry, type Snapshot } from '../../lib/api';
import { ordered } from '../../lib/entry';
import { moment, shown } from '../../lib/format';
import { address } from '../../lib/router.svelte';
import { inside } from '../../lib/text';
import { keysAbove, rowsOf, type Branch, type Inside } from '../../lib/tree';
import { words } from '../../lib/words';

/** Folders of a folder that are shown; who wants more goes there. */
const SHOWN_MAX = 500;
const REMEMBERED = 'tree';

type Folder = { name: string; path: string };

function cut(found: readonly Folder[], branch: (folder: Folder) => Branch, all: { key: string; to: string; isMore: boolean }): Branch[] {
  const rows = found.map((folder) => ({ ...folder, key: folder.path, isFolder: true, size: 0, modified: undefined }));
  const sorted = ordered(rows, { column: 'name', isDescending: false }).slice(0, SHOWN_MAX);
  const more: Branch = { key: `more:${all.key}`, text: words.tree.more, icon: 'more', to: all.to };
  return [...sorted.map(branch), ...(all.isMore || found.length > SHOWN_MAX ? [more] : [])];
}

function driveBranch(path: string, text: string): Branch {
  const to = address('files', path);
  const branch = ({ path, name }: Folder) => driveBranch(path, shown(name));
  return {
    key: `drive:${path}`,
    text,
    icon: path === '' ? 'home' : 'folder',
    to,
    children: async () => {
      const { folders, isMore } = await api.someFolders(path);
      return cut(folders, branch, { key: `drive:${path}`, to, isMore });
    },
  };
}

function snapshotBranch(id: string, path: string, text: string): Branch {
  const to = address('backups', inside(`snapshot/${id}`, path).replace(/\/$/, ''));
  const key = `snapshot:${id}:${path}`;
  const branch = ({ path, name }: Folder) => snapshotBranch(id, path, shown(name));
  return {
    key,
    text,
    icon: path === '' ? 'history' : 'folder',
    to,
    children: async () => {
      const { folders, isMore } = await api.someFoldersOf(id, path);
      return cut(folders, branch, { key, to, isMore });
    },
  };
}

function chainBranch(chain: Chain): Branch {
  const branch = (snapshot: Snapshot) => snapshotBranch(snapshot.id, '', moment(snapshot.received_ms));
  return {
    key: `chain:${chain.id}`,
    text: shown(chain.name),
    icon: 'archive',
    children: async () => {
      const { items, next } = await api.snapshots({ chain: chain.id });
      const more: Branch = { key: `more:${chain.id}`, text: words.tree.more, icon: 'more', to: address('backups', `chain/${chain.id}`) };
      return [...items.map(branch), ...(next === null ? [] : [more])];
    },
  };
}

/** One branch for each device, with its chains in it. */
function deviceBranches(chains: readonly Chain[]): Branch[] {
  const devices = new Map<string, Chain[]>();
  for (const chain of chains) devices.set(chain.device, [...(devices.get(chain.device) ?? []), chain]);
  return [...devices].map(([device, own]) => ({
    key: `device:${device}`,
    text: shown(own[0]?.device_name ?? ''),
    icon: 'archive',
    children: () => Promise.resolve(own.map(chainBranch)),
  }));
}

const BACKUPS: Branch = {
  key: 'backups',
  text: words.nav.backups,
  icon: 'archive',
  children: async () => deviceBranches(await api.chains()),
};

class Folders {
  /** Whether the tree is shown; this browser remembers it. */
  isShown = $state(globalThis.localStorage?.getItem(REMEMBERED) !== 'off');
  #open = $state.raw<ReadonlySet<string>>(new Set());
  #inside = $state.raw<ReadonlyMap<string, Inside>>(new Map());
  readonly rows = $derived(rowsOf([driveBranch('', words.files.drive), BACKUPS], this.#open, this.#inside));

  show(isShown: boolean): void {
    this.isShown = isShown;
    localStorage.setItem(REMEMBERED, isShown ? 'on' : 'off');
  }

  /** Whether there is room for it. */
  get isWanted(): boolean {
    return this.isShown && matchMedia('(min-width: 80rem)').matches;
  }

  /** What is known of what is in an open branch. */
  of(key: string): Inside | undefined {
    return this.#inside.get(key);
  }

  close(key: string): void {
    this.#open = new Set([...this.#open].filter((other) => other !== key));
  }

  /** Opens a branch that is in sight, and asks what is in it where that is not known. */
  async open(key: string): Promise<void> {
    this.#open = new Set([...this.#open, key]);
    const known = this.#inside.get(key);
    const branch = this.rows.find((row) => row.branch.key === key)?.branch;
    if (branch?.children && (!known || known.trouble !== undefined)) await this.#load(branch);
  }

  async #load({ key, children }: Branch): Promise<void> {
    if (!children) return;
    this.#set(key, { branches: this.of(key)?.branches ?? [], isLoading: true });
    try {
      this.#set(key, { branches: await children() });
    } catch (error) {
      this.#set(key, { branches: [], trouble: (error as Error).message });
    }
  }

  #set(key: string, inside: Inside): void {
    this.#inside = new Map([...this.#inside, [key, inside]]);
  }

  /** Opens a folder of the drive, and all that is above it. */
  async revealDrive(path: string): Promise<void> {
    for (const key of keysAbove('drive:', path).slice(0, -1)) await this.open(key);
    // What is in the folder itself, its list tells.
    this.#open = new Set([...this.#open, `drive:${path}`]);
  }

  /** The same of a folder of a snapshot. */
  async revealSnapshot({ id, chain, device }: Snapshot, path: string): Promise<void> {
    for (const key of ['backups', `device:${device}`, `chain:${chain}`, ...keysAbove(`snapshot:${id}:`, path)]) {
      await this.open(key);
    }
  }

  /** What a list of a folder of the drive has just learned. */
  take(path: string, entries: readonly DriveEntry[]): void {
    const key = `drive:${path}`;
    const folders = entries.filter((entry) => entry.kind === 'folder');
    const branch = ({ path, name }: Folder) => driveBranch(path, shown(name));
    this.#set(key, { branches: cut(folders, branch, { key, to: address('files', path), isMore: false }) });
  }

  /** Something came into a folder of the drive, of which no list is shown. */
  forget(path: string): void {
    const key = `drive:${path}`;
    if (!this.#inside.has(key)) return;
    if (this.#open.has(key)) return void this.#load(driveBranch(path, ''));
    this.#inside = new Map([...this.#inside].filter(([other]) => other !== key));
  }
}

export const folders = new Folders();
