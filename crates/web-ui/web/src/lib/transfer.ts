// A file on its way by tus: it goes on after a pause, a lost connection, another start of the server and a reload of the
// page. What the server has already, by content, is not sent.

import { DetailedError, Upload as Tus } from 'tus-js-client';

import { api, type OnConflict, type Unfinished } from './api';
import { noteStatus, troubleIn } from './ask';
import { BASE } from './base';
import { guard } from './guard';
import type { Reports, StartTransfer, Transfer, Upload } from './queue.svelte';

/** Waits before a lost connection is made again; while bytes come through they begin anew. */
const RETRY_DELAYS_MS = [0, 1000, 3000, 5000, 10_000, 20_000];
/** Files up to here come with their announcement: one request less. */
const AT_ONCE_BYTES = 1 << 20;
/** Browsers hash only what is in memory as a whole. */
const HASHED_BYTES = 64 << 20;

/** Transfers that do this with a file that has the name already; they go on with what is `unfinished`. */
export function transfers(onConflict: () => OnConflict, unfinished: (upload: Upload) => Unfinished | undefined): StartTransfer {
  return (upload, reports) => {
    const stop = new AbortController();
    let tus: Tus | undefined;
    const begun = isKnown(upload.file, upload.path, stop.signal)
      .catch(() => false)
      .then((known) => {
        if (stop.signal.aborted) return;
        if (known) reports.ended('identical');
        else {
          tus = begin(upload, onConflict(), unfinished(upload), reports);
          tus.start();
        }
      });
    const end = (isDropped: boolean) => {
      stop.abort();
      // What cannot be given up now is given up by the server some days later.
      void begun.then(() => tus?.abort(isDropped)).catch(() => {});
    };
    return { stop: () => end(false), drop: () => end(true) } satisfies Transfer;
  };
}

/** Whether the drive has exactly this file at this place. Its content is read only where the size is the same. */
async function isKnown(file: File, path: string, signal: AbortSignal): Promise<boolean> {
  const asked = { path, size: file.size };
  const [first] = await api.known([asked], signal);
  if (first !== 'same-size' || file.size > HASHED_BYTES || !globalThis.crypto?.subtle) return false;
  const hash = await crypto.subtle.digest('SHA-256', await file.arrayBuffer());
  const sha256 = [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const [second] = await api.known([{ ...asked, sha256 }], signal);
  return second === 'identical';
}

function begin(upload: Upload, conflict: OnConflict, before: Unfinished | undefined, reports: Reports): Tus {
  const { file, path } = upload;
  return new Tus(file, {
    endpoint: `${BASE}/api/v1/uploads`,
    uploadUrl: before?.href ?? null,
    metadata: { path, conflict, mtime_ms: String(file.lastModified) },
    uploadDataDuringCreation: file.size <= AT_ONCE_BYTES,
    // The server remembers what is not complete, for every browser.
    storeFingerprintForResuming: false,
    retryDelays: RETRY_DELAYS_MS,
    // Asked for each time: it is another one after a new login.
    onBeforeRequest: (request) => {
      for (const [name, value] of Object.entries(guard())) request.setHeader(name, value);
    },
    onShouldRetry: (error) => isWorthRetrying(error),
    onProgress: (sent) => reports.sent(sent),
    onSuccess: ({ lastResponse }) => {
      reports.ended(lastResponse.getHeader('Upload-Outcome') === 'identical' ? 'identical' : 'stored');
    },
    onError: (error) => reports.failed(why(error)),
  });
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
