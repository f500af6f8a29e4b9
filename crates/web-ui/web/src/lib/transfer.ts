// A file on its way by tus: it goes on after a pause, a lost connection, another start of the server and a reload of the
// page. What the server has already, by content, is not sent.

import { DetailedError, Upload as Tus } from 'tus-js-client';

import { api, type Asked, type KnownState, type OnConflict, Trouble, type Unfinished } from './api';
import { changeKey, noteStatus, troubleIn } from './ask';
import { BASE } from './base';
import { guard } from './guard';
import { Knowing } from './known';
import type { Ending, Reports, StartTransfer, Transfer, Upload } from './queue.svelte';
import { sha256Of } from './sha256';

/** Waits before a lost connection is made again; while bytes come through they begin anew. */
const RETRY_DELAYS_MS = [0, 1000, 3000, 5000, 10_000, 20_000];
/** Files up to here come with their announcement: one request less. */
const AT_ONCE_BYTES = 1 << 20;
/** What is shorter is sent sooner than it is found somewhere else on the drive. */
const PLACED_BYTES_MIN = 64 << 10;

/** What one upload told the server, and says again when it goes on. */
type Announced = { readonly conflict: OnConflict; readonly key: Record<string, string>; href: string | null };

/** How uploads are meant: what becomes of a file that has the name; what is there in part; which come next. */
export type Intent = {
  onConflict: () => OnConflict;
  unfinished: (upload: Upload) => Unfinished | undefined;
  upcoming: () => Iterable<Upload>;
};

/** Transfers of files that the drive does not have; they go on with what is unfinished. */
export function transfers({ onConflict, unfinished, upcoming }: Intent): StartTransfer {
  const announced = new WeakMap<Upload, Announced>();
  const knowing = new Knowing(api.known, function* () {
    for (const upload of upcoming()) yield askedOf(upload);
  });
  return (upload, reports) => {
    const stop = new AbortController();
    let tus: Tus | undefined;
    const known = announced.get(upload) ?? { conflict: onConflict(), key: changeKey(), href: null };
    announced.set(upload, known);
    const run = async () => {
      if (known.href === null) {
        const state = await knowing.state(askedOf(upload)).catch(() => undefined);
        if (stop.signal.aborted) return;
        known.href = unfinished(upload)?.href ?? null;
        const more = { conflict: known.conflict, knowing };
        if (known.href === null && state && (await withoutSending(upload, { state, ...more }, reports, stop.signal))) return;
        if (stop.signal.aborted) return;
      }
      tus = begin(upload, known, reports);
      tus.start();
    };
    const begun = run().catch((error: Error) => reports.failed(error.message));
    const end = (isDropped: boolean) => {
      stop.abort();
      // What cannot be given up now is given up by the server some days later.
      void begun.then(() => tus?.abort(isDropped)).catch(() => {});
    };
    return { stop: () => end(false), drop: () => end(true) } satisfies Transfer;
  };
}

function askedOf({ path, file }: Upload): Asked {
  return { path, size: file.size };
}

/** Ends an upload that needs not be sent, as far as its content and the server tell; `false`: it has to be. */
async function withoutSending(
  upload: Upload,
  { state, conflict, knowing }: { state: KnownState; conflict: OnConflict; knowing: Knowing },
  reports: Reports,
  signal: AbortSignal,
): Promise<boolean> {
  if (conflict === 'skip' && isTaken(state)) {
    reports.ended('skipped');
    return true;
  }
  const isWorthwhile = state === 'same-size' || (state === 'same-size-elsewhere' && upload.file.size >= PLACED_BYTES_MIN);
  if (!isWorthwhile) return false;
  reports.checked(0);
  // What cannot be read is told when it is sent.
  const sha256 = await sha256Of(upload.file, reports.checked, signal).catch(() => undefined);
  const found = sha256 && !signal.aborted && (await knowing.state({ ...askedOf(upload), sha256 }).catch(() => undefined));
  if (!found || signal.aborted) return false;
  reports.checked(undefined);
  if (found === 'identical') reports.ended('identical');
  return found === 'identical' || (found === 'elsewhere' && (await place(upload, sha256, conflict, reports)));
}

/** Whether something has the name, for certain. */
function isTaken(state: KnownState): boolean {
  return state === 'different' || state === 'same-size' || state === 'identical';
}

/** Has the server make the file of what it has; `false` when it does not have that any more, or cannot be reached. */
async function place({ path, file }: Upload, sha256: string, conflict: OnConflict, reports: Reports): Promise<boolean> {
  try {
    const { outcome, version } = await api.place({ path, size: file.size, sha256, conflict, mtime_ms: file.lastModified });
    if (outcome === 'created') reports.ended('placed');
    else if (outcome === 'new-version') reports.ended('placed', version);
    else reports.ended(outcome);
    return true;
  } catch (error) {
    const { status } = error as Trouble;
    if (status === 0 || status === 404) return false;
    throw error;
  }
}

function begin({ file, path }: Upload, announced: Announced, reports: Reports): Tus {
  const tus = new Tus(file, {
    endpoint: `${BASE}/api/v1/uploads`,
    uploadUrl: announced.href,
    metadata: { path, conflict: announced.conflict, mtime_ms: String(file.lastModified) },
    uploadDataDuringCreation: file.size <= AT_ONCE_BYTES,
    // The server remembers what is not complete, for every browser.
    storeFingerprintForResuming: false,
    retryDelays: RETRY_DELAYS_MS,
    // Asked for each time: it is another one after a new login.
    onBeforeRequest: (request) => {
      const key = request.getMethod() === 'POST' ? announced.key : {};
      for (const [name, value] of Object.entries({ ...guard(), ...key })) request.setHeader(name, value);
    },
    onUploadUrlAvailable: () => (announced.href = tus.url),
    onShouldRetry: (error) => isWorthRetrying(error),
    onProgress: (sent) => reports.sent(sent),
    onSuccess: ({ lastResponse }) => {
      const outcome = lastResponse.getHeader('Upload-Outcome');
      const how: Ending = outcome === 'identical' || outcome === 'skipped' ? outcome : 'stored';
      const version = Number(lastResponse.getHeader('ETag')?.replaceAll('"', ''));
      reports.ended(how, outcome === 'new-version' ? version : undefined);
    },
    onError: (error) => reports.failed(why(error)),
  });
  return tus;
}

/** A lost connection, and what the server cannot do just now; not a full disk, nor what will be refused again. */
function isWorthRetrying(error: Error | DetailedError): boolean {
  const status = statusOf(error);
  return status === 0 || status === 409 || status === 423 || (status >= 500 && status !== 507);
}

function statusOf(error: Error | DetailedError): number {
  return (error instanceof DetailedError && error.originalResponse?.getStatus()) || 0;
}

function why(error: Error | DetailedError): string {
  const status = statusOf(error);
  if (status === 0) return 'the connection to the server was lost';
  noteStatus(status);
  return troubleIn(status, (error as DetailedError).originalResponse?.getBody() ?? '').message;
}
