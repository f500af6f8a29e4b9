// What a search of the drive is narrowed to: said in the screen's address, and to the server.

import type { FoundKind } from './api';
import type { Query } from './ask';
import { words } from './words';

export type SizeName = keyof typeof words.search.sizes;
export type AgeName = keyof typeof words.search.ages;
/** Empty: any. */
export type Wanted = { text: string; kind: FoundKind | ''; size: SizeName; age: AgeName };

const BYTES_MIN: Record<SizeName, number> = { '': 0, '1M': 2 ** 20, '100M': 100 * 2 ** 20, '1G': 2 ** 30 };
const DAYS: Record<AgeName, number | undefined> = { '': undefined, today: 0, week: 7, month: 30, year: 365 };

/** Whether anything but the text narrows it. */
export function isNarrowed({ kind, size, age }: Wanted): boolean {
  return kind !== '' || size !== '' || age !== '';
}

/** What an address asks for; what it says that means nothing here is left out. */
export function read(search: string): Wanted {
  const said = new URLSearchParams(search);
  const one = <Name extends string>(name: string, known: Record<Name, unknown>): Name | '' => {
    const value = said.get(name) ?? '';
    return Object.hasOwn(known, value) ? (value as Name) : '';
  };
  return {
    text: said.get('q') ?? '',
    kind: one('kind', words.search.kinds),
    size: one('size', words.search.sizes),
    age: one('changed', words.search.ages),
  };
}

/** What stands behind the question mark of the screen's address. */
export function written({ text, kind, size, age }: Wanted): string {
  const pairs = Object.entries({ q: text.trim(), kind, size, changed: age }).filter(([, value]) => value !== '');
  return pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
}

/** What the server is asked; days begin at midnight of the browser's zone. */
export function queryOf({ text, kind, size, age }: Wanted, now: number): Query<'/api/v1/search'> {
  const days = DAYS[age];
  return {
    ...(text.trim() === '' ? {} : { q: text.trim() }),
    ...(kind === '' ? {} : { kind }),
    ...(size === '' ? {} : { min_size: String(BYTES_MIN[size]) }),
    ...(days === undefined ? {} : { after_ms: new Date(now).setHours(0, 0, 0, 0) - days * 86_400_000 }),
  };
}
