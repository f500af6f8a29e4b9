// A tree of which only what was opened is known, and how the keyboard moves in it.

/** Something in a tree. */
export type Branch = {
  /** Tells it from all others of the tree. */
  key: string;
  text: string;
  icon: 'folder' | 'archive' | 'home' | 'history' | 'more';
  /** Where it leads; nowhere: it only opens. */
  to?: string;
  /** What is in it; none: it is a leaf. */
  children?: () => Promise<readonly Branch[]>;
};

/** What is known of what is in a branch. */
export type Inside = { readonly branches: readonly Branch[]; readonly trouble?: string; readonly isLoading?: boolean };

/** A row of the tree as it is shown. */
export type Row = {
  readonly branch: Branch;
  /** 1 at the top. */
  readonly level: number;
  /** Its place among its siblings, from 1, and how many these are. */
  readonly place: number;
  readonly siblings: number;
  readonly parent: string | undefined;
  readonly isOpen: boolean;
};

/** The rows that are in sight: what is in branches that are closed is not. */
export function rowsOf(
  branches: readonly Branch[],
  open: ReadonlySet<string>,
  inside: ReadonlyMap<string, Inside>,
  parent?: string,
  level = 1,
): Row[] {
  return branches.flatMap((branch, index) => {
    const isOpen = branch.children !== undefined && open.has(branch.key);
    const row = { branch, level, place: index + 1, siblings: branches.length, parent, isOpen };
    const below = isOpen ? (inside.get(branch.key)?.branches ?? []) : [];
    return [row, ...rowsOf(below, open, inside, branch.key, level + 1)];
  });
}

/** What a key means at a row. */
export type Wish = { go: string } | { open: string } | { close: string } | { follow: string };

/** What a key means where the keyboard is; nothing for keys that are not the tree's. */
export function wishOf(key: string, rows: readonly Row[], current: string): Wish | undefined {
  const at = rows.findIndex((row) => row.branch.key === current);
  const row = rows[at];
  if (!row) return undefined;
  const go = (other: Row | undefined): Wish => ({ go: (other ?? row).branch.key });
  switch (key) {
    case 'ArrowDown':
      return go(rows[at + 1]);
    case 'ArrowUp':
      return go(rows[at - 1]);
    case 'Home':
      return go(rows[0]);
    case 'End':
      return go(rows.at(-1));
    case 'ArrowRight':
      if (!row.branch.children) return go(row);
      return row.isOpen ? go(rows[at + 1]?.parent === current ? rows[at + 1] : row) : { open: current };
    case 'ArrowLeft':
      return row.isOpen ? { close: current } : { go: row.parent ?? current };
    case 'Enter':
    case ' ':
      if (row.branch.to !== undefined) return { follow: row.branch.to };
      return row.isOpen ? { close: current } : { open: current };
    default:
      return undefined;
  }
}

/** The keys above a folder's, the topmost first, and its own: `drive:`, `drive:a`, `drive:a/b`. */
export function keysAbove(prefix: string, path: string): string[] {
  const parts = path === '' ? [] : path.split('/');
  return [prefix, ...parts.map((_, index) => `${prefix}${parts.slice(0, index + 1).join('/')}`)];
}
