// What a list of files shows, and its orders.

/** A file or folder of the drive, as lists show it. */
export type Entry = {
  /** Tells it from the others of its folder. */
  key: string;
  name: string;
  isFolder: boolean;
  /** Bytes; 0 for folders. */
  size: number;
  /** Where a small picture of it is, if there is one. */
  thumbnail?: string | undefined;
  /** Unix milliseconds; undefined where the server knows none. */
  modified: number | undefined;
};

export type Column = 'name' | 'size' | 'modified';
export type Order = { column: Column; isDescending: boolean };

// One collator for all comparisons: making one costs more than a thousand comparisons.
const names = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

/** Folders first, then by the column; equal ones by name, and by code points where even names compare equal. */
export function ordered<Row extends Entry>(rows: readonly Row[], order: Order): Row[] {
  const direction = order.isDescending ? -1 : 1;
  const byName = (a: Entry, b: Entry) => names.compare(a.name, b.name) || (a.name < b.name ? -1 : 1);
  const byColumn = {
    name: byName,
    size: (a: Entry, b: Entry) => a.size - b.size,
    modified: (a: Entry, b: Entry) => (a.modified ?? 0) - (b.modified ?? 0),
  }[order.column];
  return [...rows].sort((a, b) => {
    if (a.isFolder !== b.isFolder) return a.isFolder ? -1 : 1;
    return direction * byColumn(a, b) || byName(a, b);
  });
}

/** Why this is no name for a file, or nothing. */
export function complaintOf(name: string): 'empty' | 'slash' | 'dots' | 'long' | undefined {
  if (name === '') return 'empty';
  if (name.includes('/') || name.includes('\0')) return 'slash';
  if (name === '.' || name === '..') return 'dots';
  if (new TextEncoder().encode(name).length > 255) return 'long';
  return undefined;
}

/** How much of a name stands before its ending, for a rename that starts with it selected. */
export function stemLength(name: string): number {
  const dot = name.lastIndexOf('.');
  return dot > 0 ? dot : name.length;
}
