// SHA-256 of bytes as they come.

import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';

/** In hexadecimal; `onRead` is told how many bytes have come. */
export async function digest(stream: ReadableStream<Uint8Array>, onRead: (bytes: number) => void): Promise<string> {
  const hash = sha256.create();
  const reader = stream.getReader();
  let read = 0;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    hash.update(piece.value);
    read += piece.value.length;
    onRead(read);
  }
  return bytesToHex(hash.digest());
}
