// Uploads that wait, run and end: five at a time, each can be paused, resumed, retried and taken out. How bytes travel is
// the matter of a `Transfer`.

export const PARALLEL = 5;

/** `identical`: the server holds exactly this already, so nothing was sent. */
export type Ending = 'stored' | 'identical';
export type UploadState = 'waiting' | 'running' | 'paused' | 'failed' | Ending;

/** A file on its way to a place on the drive. */
export type Upload = {
  readonly id: number;
  readonly file: File;
  /** Where it goes on the drive, each name percent-encoded. */
  readonly path: string;
  state: UploadState;
  sentBytes: number;
  /** Why it failed, for people. */
  trouble: string;
};

/** What a transfer reports. After `ended` or `failed` it reports nothing more. */
export type Reports = { sent: (bytes: number) => void; ended: (how: Ending) => void; failed: (why: string) => void };

/** A file being sent. `stop` keeps what the server has, for a later transfer to go on from; `drop` gives that up too. */
export type Transfer = { stop: () => void; drop: () => void };

export type StartTransfer = (upload: Upload, reports: Reports) => Transfer;

/** The list in numbers: how many are in each state, and bytes of all of them. */
export type Totals = Record<UploadState, number> & { bytes: number; sentBytes: number };

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
    bytes: 0,
    sentBytes: 0,
  });
  readonly #start: StartTransfer;
  readonly #onEnd: (upload: Upload) => void;
  readonly #transfers = new Map<number, Transfer>();
  /** In the order in which they run. Those that do not wait any more are passed over. */
  #waiting: Upload[] = [];
  #next = 1;

  constructor(start: StartTransfer, onEnd: (upload: Upload) => void) {
    this.#start = start;
    this.#onEnd = onEnd;
  }

  add(files: readonly { file: File; path: string }[]): void {
    const added = files.map(({ file, path }): Upload => {
      return { id: this.#next++, file, path, state: 'waiting', sentBytes: 0, trouble: '' };
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

  /** Waits until resumed; what was sent stays sent. */
  pause(id: number): void {
    const upload = this.#find(id);
    if (!upload || (upload.state !== 'waiting' && upload.state !== 'running')) return;
    this.#become(upload, 'paused');
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
    this.#waiting = [];
    for (const upload of this.list) {
      if (upload.state !== 'waiting' && upload.state !== 'running') continue;
      this.#become(upload, 'paused');
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
    const isComplete = ({ state }: Upload) => state === 'stored' || state === 'identical';
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
    if (upload.state === 'waiting') this.#waiting = this.#waiting.filter((other) => other.id !== upload.id);
    this.totals[upload.state] -= 1;
    this.totals.bytes -= upload.file.size;
    this.totals.sentBytes -= upload.sentBytes;
  }

  #fill(): void {
    while (this.#transfers.size < PARALLEL) {
      const upload = this.#waiting.shift();
      if (!upload) return;
      if (upload.state === 'waiting') this.#run(upload);
    }
  }

  #run(upload: Upload): void {
    this.#become(upload, 'running');
    const transfer: { current?: Transfer } = {};
    // A transfer that was stopped may still report: only the one that runs counts.
    const isRunning = () => transfer.current !== undefined && this.#transfers.get(upload.id) === transfer.current;
    const end = (state: Ending | 'failed') => {
      this.#transfers.delete(upload.id);
      this.#become(upload, state);
      if (state !== 'failed') this.#sent(upload, upload.file.size);
      this.#onEnd(upload);
      this.#fill();
    };
    transfer.current = this.#start(upload, {
      sent: (bytes) => {
        if (isRunning()) this.#sent(upload, bytes);
      },
      ended: (how) => {
        if (isRunning()) end(how);
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
