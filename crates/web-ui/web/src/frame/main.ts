// The page in the frame: gets one PDF from the application that framed it, and draws it with pdf.js. Its origin is opaque and
// its policy allows no request, so everything it needs comes by messages.
import 'pdfjs-dist/legacy/build/pdf.worker.mjs';

import { getDocument } from 'pdfjs-dist/legacy/build/pdf.mjs';

import type { FromFrame, ToFrame } from '../lib/pdf';
import style from './page.css?inline';
import { View } from './view';

/** Larger pictures in a PDF stay blank: a page of A3 in 600 dpi has 70 million pixels. */
const IMAGE_PIXELS_MAX = 100_000_000;
/** Errors of ours; what is odd in a PDF is nobody's fault here. */
const ERRORS = 0;

const tell = (said: FromFrame) => parent.postMessage(said, location.origin);

/** Who waits for a file that was asked for. */
const waiting = new Map<string, ((bytes: ArrayBuffer | null) => void)[]>();

/** Asks the application for what pdf.js would fetch. */
class Files {
  async fetch({ filename }: { filename: string }): Promise<Uint8Array> {
    const bytes = await new Promise<ArrayBuffer | null>((got) => {
      const others = waiting.get(filename);
      if (others) return void others.push(got);
      waiting.set(filename, [got]);
      tell({ kind: 'wants', name: filename });
    });
    if (!bytes) throw new Error(`there is no ${filename}`);
    return new Uint8Array(bytes.slice(0));
  }
}

let view: View | undefined;
let isOpen = false;

async function open(bytes: ArrayBuffer) {
  try {
    const pdf = await getDocument({
      data: new Uint8Array(bytes),
      BinaryDataFactory: Files,
      useWorkerFetch: false,
      useSystemFonts: true,
      enableXfa: false,
      maxImageSize: IMAGE_PIXELS_MAX,
      verbosity: ERRORS,
    }).promise;
    view = await View.of(pdf, (page) => tell({ kind: 'at', page }));
    tell({ kind: 'opened', pages: pdf.numPages });
  } catch (error) {
    tell({ kind: 'failed', reason: (error as Error).name === 'PasswordException' ? 'password' : 'broken' });
  }
}

addEventListener('message', ({ source, origin, data }: MessageEvent<ToFrame | null>) => {
  if (source !== parent || origin !== location.origin) return;
  if (data?.kind === 'open' && !isOpen) {
    isOpen = true;
    document.documentElement.style.colorScheme = data.scheme;
    void open(data.bytes);
  } else if (data?.kind === 'zoom') {
    view?.zoom(data.factor);
  } else if (data?.kind === 'file') {
    for (const got of waiting.get(data.name) ?? []) got(data.bytes);
    waiting.delete(data.name);
  }
});

// Keys that are pressed in a frame do not get out of it by themselves.
addEventListener('keydown', ({ key, ctrlKey, metaKey, altKey }) => {
  if (ctrlKey || metaKey || altKey) return;
  const isWide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  if (key === 'Escape' || (!isWide && (key === 'ArrowLeft' || key === 'ArrowRight'))) tell({ kind: 'pressed', key });
});

const sheet = new CSSStyleSheet();
sheet.replaceSync(style);
document.adoptedStyleSheets = [sheet];
tell({ kind: 'ready' });
