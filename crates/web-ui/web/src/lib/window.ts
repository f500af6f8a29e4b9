// Which rows of a long list exist as elements: those in sight and some on either side.

export type Rows = { first: number; end: number };

/** Rows of `rowHeight` pixels from `first` to before `end`, with `spare` more on either side. */
export function rowsInSight(top: number, height: number, rowHeight: number, count: number, spare: number): Rows {
  const first = Math.floor(Math.max(0, top) / rowHeight) - spare;
  const end = Math.ceil((Math.max(0, top) + height) / rowHeight) + spare;
  return { first: Math.min(Math.max(0, first), count), end: Math.min(Math.max(0, end), count) };
}

/** The scroll position nearest to `top` at which row `index` is wholly in sight. */
export function scrolledTo(index: number, top: number, height: number, rowHeight: number): number {
  const start = index * rowHeight;
  if (start < top) return start;
  return Math.max(top, start + rowHeight - height);
}
