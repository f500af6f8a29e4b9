// What is selected in a list, by key: clicks, ranges and the keyboard, as file managers have it.

/** A row that the keyboard is at, and where a range began. Keys are names; `order` is the list as shown. */
export type Selection = { readonly keys: ReadonlySet<string>; readonly current: string | undefined; readonly anchor: string | undefined };

export const NOTHING: Selection = { keys: new Set(), current: undefined, anchor: undefined };

/** One row alone. */
export function only(key: string): Selection {
  return { keys: new Set([key]), current: key, anchor: key };
}

/** That row added, or taken out. */
export function toggled(selection: Selection, key: string): Selection {
  const keys = new Set(selection.keys);
  if (!keys.delete(key)) keys.add(key);
  return { keys, current: key, anchor: key };
}

/** Everything between where the range began and this row. */
export function extended(selection: Selection, key: string, order: readonly string[]): Selection {
  const anchor = selection.anchor ?? selection.current ?? key;
  const from = order.indexOf(anchor);
  const to = order.indexOf(key);
  if (from < 0 || to < 0) return only(key);
  return { keys: new Set(order.slice(Math.min(from, to), Math.max(from, to) + 1)), current: key, anchor };
}

/** Every row. */
export function all(selection: Selection, order: readonly string[]): Selection {
  return { ...selection, keys: new Set(order) };
}

/** Without rows that are gone. */
export function kept(selection: Selection, order: readonly string[]): Selection {
  const there = new Set(order);
  const stays = (key: string | undefined) => (key !== undefined && there.has(key) ? key : undefined);
  const keys = [...selection.keys].filter((key) => there.has(key));
  return { keys: new Set(keys), current: stays(selection.current), anchor: stays(selection.anchor) };
}
