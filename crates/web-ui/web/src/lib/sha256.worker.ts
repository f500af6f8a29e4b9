// Reads one file, tells how far it is and what its SHA-256 is.

import type { Told } from './sha256';
import { digest } from './digest';

const EVERY_MS = 200;

function tell(told: Told): void {
  postMessage(told);
}

addEventListener('message', async ({ data: file }: MessageEvent<File>) => {
  let last = 0;
  try {
    const sha256 = await digest(file.stream(), (read) => {
      const now = performance.now();
      if (now - last < EVERY_MS) return;
      last = now;
      tell({ read });
    });
    tell({ sha256 });
  } catch (error) {
    tell({ trouble: (error as Error).message });
  }
});
