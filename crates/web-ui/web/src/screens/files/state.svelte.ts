// What outlives a change of screens: uploads go on while a person is elsewhere. What was on its way before the page was
// loaded, the server knows; it goes on when the same file is chosen again.

import { api, type OnConflict, type Unfinished } from '../../lib/api';
import { Queue, type Upload } from '../../lib/queue.svelte';
import { transfers } from '../../lib/transfer';
import { words } from '../../lib/words';

const CONFLICTS: readonly string[] = Object.keys(words.files.conflicts);
const REMEMBERED = 'upload-conflict';

function remembered(): OnConflict {
  const said = globalThis.localStorage?.getItem(REMEMBERED) ?? '';
  return CONFLICTS.includes(said) ? (said as OnConflict) : 'new-version';
}

class Uploading {
  /** What becomes of a file that has the name already; this browser remembers it. */
  onConflict = $state<OnConflict>(remembered());
  /** Counts what was stored, so that lists know when to ask again. */
  stored = $state(0);
  /** Files that are on the server in part, as it said last. */
  #known = $state.raw<readonly Unfinished[]>([]);
  readonly queue: Queue = new Queue(
    transfers({
      onConflict: () => this.onConflict,
      unfinished: (upload) => this.#take(upload),
      upcoming: () => this.queue.upcoming(),
    }),
    (upload) => {
      this.#known = this.#known.filter(({ path }) => path !== upload.path);
      if (upload.state === 'stored' || upload.state === 'placed') this.stored += 1;
    },
  );
  /** Those of them that nobody sends here. */
  readonly unfinished = $derived.by(() => {
    if (this.#known.length === 0) return [];
    const isHere = new Set(this.queue.list.map(({ path }) => path));
    return this.#known.filter(({ path }) => path !== null && !isHere.has(path));
  });

  setConflict(wanted: OnConflict): void {
    this.onConflict = wanted;
    localStorage.setItem(REMEMBERED, wanted);
  }

  /** Asks the server what is there in part. */
  async look(): Promise<void> {
    try {
      this.#known = await api.unfinished();
    } catch {
      // Somebody who may not upload, or no connection: the list tells that.
    }
  }

  async giveUp(upload: Unfinished): Promise<void> {
    this.#known = this.#known.filter((other) => other !== upload);
    await api.giveUp(upload.href);
  }

  /** Makes the version before an upload the newest again. */
  async undo(upload: Upload): Promise<void> {
    const versions = await api.versions(upload.path);
    const before = versions.filter(({ version }) => version < (upload.newVersion ?? 0)).sort((a, b) => b.version - a.version)[0];
    if (!before) throw new Error(words.uploads.noneBefore);
    await api.restoreVersion(upload.path, before.version, upload.newVersion);
    this.queue.remove(upload.id);
    this.stored += 1;
  }

  /** What is there of this very file: at its place, of its length, and not changed since. */
  #take({ file, path }: Upload): Unfinished | undefined {
    const isSame = (other: Unfinished) =>
      other.path === path && other.size === file.size && other.mtime_ms === file.lastModified;
    const found = this.#known.find(isSame);
    if (found) this.#known = this.#known.filter((other) => other !== found);
    return found;
  }
}

export const uploading = new Uploading();
