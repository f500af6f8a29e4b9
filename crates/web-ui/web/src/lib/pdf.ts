// What the application and the frame that draws a PDF say to each other. The frame may have become whatever a PDF made of it:
// what it says is looked at before it counts, and it gets nothing but the bytes of that PDF and files that everybody may have.

/** Longest PDF that is shown; what is longer is there to be saved. */
export const PDF_LEN_MAX = 64 * 1024 * 1024;
/** Most pages that are shown of one. */
export const PAGES_MAX = 2000;
/** The page in the frame. */
export const FRAME = '/pdf/page.html';

export type Scheme = 'light' | 'dark';
const REASONS = ['password', 'broken'] as const;
/** Why a PDF is not shown. */
export type Reason = (typeof REASONS)[number];
const KEYS = ['Escape', 'ArrowLeft', 'ArrowRight'] as const;
/** What is pressed in the frame and meant for the application. */
export type Key = (typeof KEYS)[number];

export type ToFrame =
  | { kind: 'open'; bytes: ArrayBuffer; scheme: Scheme }
  /** How wide pages are, as a part of what fits. */
  | { kind: 'zoom'; factor: number }
  /** A file that it wanted; `null`: there is none. */
  | { kind: 'file'; name: string; bytes: ArrayBuffer | null };

export type FromFrame =
  /** It listens. */
  | { kind: 'ready' }
  | { kind: 'opened'; pages: number }
  /** Which page is looked at, from 1. */
  | { kind: 'at'; page: number }
  | { kind: 'failed'; reason: Reason }
  /** It needs a table of characters, a font or a decoder that this PDF does not bring. */
  | { kind: 'wants'; name: string }
  | { kind: 'pressed'; key: Key };

/** Files that come with the application. */
const FILE = /^[\w-]{1,40}\.(?:bcmap|pfb|wasm)$/;

const isOneOf = <T>(known: readonly T[], value: unknown): value is T => known.includes(value as T);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;

/** What the frame said; `undefined`: nothing that is known. */
export function heard(said: unknown): FromFrame | undefined {
  if (typeof said !== 'object' || said === null) return undefined;
  const { kind, pages, page, reason, name, key } = said as Record<string, unknown>;
  if (kind === 'ready') return { kind };
  if (kind === 'opened' && isCount(pages)) return { kind, pages };
  if (kind === 'at' && isCount(page)) return { kind, page };
  if (kind === 'failed' && isOneOf(REASONS, reason)) return { kind, reason };
  if (kind === 'wants' && typeof name === 'string' && FILE.test(name)) return { kind, name };
  if (kind === 'pressed' && isOneOf(KEYS, key)) return { kind, key };
  return undefined;
}

/** Where a file is that the frame wants. */
export function fileAddress(name: string): string {
  return `/pdf/data/${name}`;
}
