// Uploads that wait, run and end: a few at a time, each can be paused, resumed, retried and taken out. How bytes travel is
// the matter of a `Transfer`.

/** So many run at a time, and more where the next is small: those spend their time waiting for answers. */
export const PARALLEL = 5;
export const PARALLEL_SMALL = 10;
const SMALL_BYTES = 1 << 20;

/**
 * `identical`: the drive has exactly this file at its place, so nothing was sent. `placed`: it had the content elsewhere, and
 * nothing was sent either. `skipped`: the file that has the name stays.
 */
export type Ending = 'stored' | 'identical' | 'placed' | 'skipped';
export type UploadState = 'waiting' | 'running' | 'paused' | 'failed' | Ending;

/** A file on its way to a place on the drive. */
export type Upload = {
  readonly id: number;
  readonly file: File;
  /** Where it goes on the drive, each name percent-encoded. */
  readonly path: string;
  state: UploadState;
  sentBytes: number;
  /** Bytes read so far to find out whether it is on the server; none when it is not being read for that. */
  checkedBytes: number | undefined;
  /** The version that it became, where there was one before it. */
  newVersion: number | undefined;
  /** Why it failed, for people. */
  trouble: string;
};

/** What a transfer reports. After `ended` or `failed` it reports nothing more. */
export type Reports = {
  sent: (bytes: number) => void;
  checked: (bytes: number | undefined) => void;
  ended: (how: Ending, newVersion?: number) => void;
  failed: (why: string) => void;
};

/** A file being sent. `stop` keeps what the server has, for a later transfer to go on from; `drop` gives that up too. */
export type Transfer = { stop: () => void; drop: () => void };

export type StartTransfer = (upload: Upload, reports: Reports) => Transfer;

/** The list in numbers: how many are in each state, how many can be undone, and bytes of all of them. */
export type Totals = Record<UploadState, number> & { newVersions: number; bytes: number; sentBytes: number };

/** Whether nothing more is to be done. */
export function isComplete({ state }: Upload): boolean {
  return state === 'stored' || state === 'identical' || state === 'placed' || state === 'skipped';
}

export class Queue {
  list = $state<Upload[]>([]);
  /** Kept up to date one by one: lists of 100,000 files are not added up for each piece that was sent. */
  totals = $state<Totals>({
    waiting: 0,
    running: 0,
    paused: 0,
    failed: 0,
    stored: 0,
    identical: 0,
    placed: 0,
    skipped: 0,
    newVersions: 0,
    bytes: 0,
    sentBytes: 0,
  });
  readonly #start: StartTransfer;
  readonly #onEnd: (upload: Upload) => void;
  readonly #transfers = new Map<number, Transfer>();
  /** In the order in which they run. Those that do not wait any more are passed over. */
  #waiting: Upload[] = [];
  /** Where the first of them is that was not looked at. */
  #head = 0;
  #next = 1;

  constructor(start: StartTransfer, onEnd: (upload: Upload) => void) {
    this.#start = start;
    this.#onEnd = onEnd;
  }

  add(files: readonly { file: File; path: string }[]): void {
    const added = files.map(({ file, path }): Upload => {
      return { id: this.#next++, file, path, state: 'waiting', sentBytes: 0, checkedBytes: undefined, newVersion: undefined, trouble: '' };
    });
    const count = this.list.length;
    this.list = this.list.concat(added);
    for (const upload of this.list.slice(count)) {
      this.totals.waiting += 1;
      this.totals.bytes += upload.file.size;
      this.#waiting.push(upload);
    }
    this.#fill();
  }

  /** Those that run next, in that order. */
  *upcoming(): Iterable<Upload> {
    for (let at = this.#head; at < this.#waiting.length; at += 1) {
      const upload = this.#waiting[at];
      if (upload?.state === 'waiting') yield upload;
    }
  }

  /** Waits until resumed; what was sent stays sent. */
  pause(id: number): void {
    const upload = this.#find(id);
    if (!upload || (upload.state !== 'waiting' && upload.state !== 'running')) return;
    this.#become(upload, 'paused');
    upload.checkedBytes = undefined;
    this.#transfers.get(id)?.stop();
    this.#transfers.delete(id);
    this.#fill();
  }

  /** Goes on with what is paused or failed. */
  resume(id: number): void {
    const upload = this.#find(id);
    if (!upload || (upload.state !== 'paused' && upload.state !== 'failed')) return;
    upload.trouble = '';
    this.#become(upload, 'waiting');
    this.#waiting.push(upload);
    this.#fill();
  }

  /** Takes it off the list; what the server has of it, if it is not complete, is dropped. */
  remove(id: number): void {
    const upload = this.#find(id);
    if (!upload) return;
    this.#forget(upload);
    this.list = this.list.filter((other) => other.id !== id);
    this.#fill();
  }

  pauseAll(): void {
    [this.#waiting, this.#head] = [[], 0];
    for (const upload of this.list) {
      if (upload.state !== 'waiting' && upload.state !== 'running') continue;
      this.#become(upload, 'paused');
      upload.checkedBytes = undefined;
      this.#transfers.get(upload.id)?.stop();
    }
    this.#transfers.clear();
  }

  resumeAll(): void {
    for (const upload of this.list) {
      if (upload.state !== 'paused' && upload.state !== 'failed') continue;
      upload.trouble = '';
      this.#become(upload, 'waiting');
      this.#waiting.push(upload);
    }
    this.#fill();
  }

  /** Takes everything that is complete off the list. */
  clear(): void {
    for (const upload of this.list) if (isComplete(upload)) this.#forget(upload);
    this.list = this.list.filter((upload) => !isComplete(upload));
  }

  #find(id: number): Upload | undefined {
    return this.list.find((upload) => upload.id === id);
  }

  #become(upload: Upload, state: UploadState): void {
    this.totals[upload.state] -= 1;
    this.totals[state] += 1;
    upload.state = state;
  }

  #sent(upload: Upload, bytes: number): void {
    this.totals.sentBytes += bytes - upload.sentBytes;
    upload.sentBytes = bytes;
  }

  #forget(upload: Upload): void {
    this.#transfers.get(upload.id)?.drop();
    this.#transfers.delete(upload.id);
    if (upload.state === 'waiting') [this.#waiting, this.#head] = [[...this.upcoming()].filter((other) => other.id !== upload.id), 0];
    if (upload.newVersion !== undefined) this.totals.newVersions -= 1;
    this.totals[upload.state] -= 1;
    this.totals.bytes -= upload.file.size;
    this.totals.sentBytes -= upload.sentBytes;
  }

  #fill(): void {
    for (; this.#head < this.#waiting.length; this.#head += 1) {
      const upload = this.#waiting[this.#head];
      if (upload?.state !== 'waiting') continue;
      if (this.#transfers.size >= (upload.file.size < SMALL_BYTES ? PARALLEL_SMALL : PARALLEL)) return;
      this.#run(upload);
    }
    [this.#waiting, this.#head] = [[], 0];
  }

  #run(upload: Upload): void {
    this.#become(upload, 'running');
    const transfer: { current?: Transfer } = {};
    // A transfer that was stopped may still report: only the one that runs counts.
    const isRunning = () => transfer.current !== undefined && this.#transfers.get(upload.id) === transfer.current;
    const end = (state: Ending | 'failed') => {
      this.#transfers.delete(upload.id);
      this.#become(upload, state);
      upload.checkedBytes = undefined;
      if (state !== 'failed') this.#sent(upload, upload.file.size);
      this.#onEnd(upload);
      this.#fill();
    };
    transfer.current = this.#start(upload, {
      sent: (bytes) => {
        if (isRunning()) this.#sent(upload, bytes);
      },
      checked: (bytes) => {
        if (isRunning()) upload.checkedBytes = bytes;
      },
      ended: (how, newVersion) => {
        if (!isRunning()) return;
        if (newVersion !== undefined) {
          upload.newVersion = newVersion;
          this.totals.newVersions += 1;
        }
        end(how);
      },
      failed: (why) => {
        if (!isRunning()) return;
        upload.trouble = why;
        end('failed');
      },
    });
    this.#transfers.set(upload.id, transfer.current);
  }
}
