// The SHA-256 of a file, whatever its length, in little memory: what is short is read at once and hashed by the browser,
// everything else by a worker as it is read.

import workerAddress from './sha256.worker?worker&url';

/** Up to here the browser hashes faster than a worker is there. */
const AT_ONCE_BYTES = 8 << 20;

/** What a worker tells: bytes read so far, and at the end one of the others. */
export type Told = { read: number } | { sha256: string } | { trouble: string };

/** In hexadecimal; `onRead` is told how much was read. Rejects when the file cannot be read, or `signal` says to stop. */
export async function sha256Of(file: File, onRead: (bytes: number) => void, signal: AbortSignal): Promise<string> {
  // Browsers hash only behind TLS, and on the machine itself.
  if (file.size <= AT_ONCE_BYTES && globalThis.crypto?.subtle) {
    return hex(new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer())));
  }
  const worker = new Worker(trusted(workerAddress), { type: 'module' });
  try {
    return await new Promise<string>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      if (signal.aborted) reject(signal.reason);
      worker.addEventListener('error', () => reject(new Error('the worker did not start')));
      worker.addEventListener('message', ({ data }: MessageEvent<Told>) => {
        if ('read' in data) onRead(data.read);
        else if ('sha256' in data) resolve(data.sha256);
        else reject(new Error(data.trouble));
      });
      worker.postMessage(file);
    });
  } finally {
    worker.terminate();
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

type Policy = { createScriptURL: (address: string) => string };
let policy: Policy | undefined;

/** The address as one that browsers take for a worker under `require-trusted-types-for`: the build made it. */
function trusted(address: string): string {
  const { trustedTypes } = globalThis as { trustedTypes?: { createPolicy: (name: string, rules: Policy) => Policy } };
  policy ??= trustedTypes?.createPolicy('sha256', { createScriptURL: (address) => address });
  return policy?.createScriptURL(address) ?? address;
}
