// What came of uploads, as a table that other programs read (RFC 4180).

import { shown } from './format';
import type { Upload } from './queue.svelte';
import { namesOf } from './text';

const COLUMNS = ['name', 'bytes', 'outcome', 'reason'];

/** One line for each file. */
export function report(list: readonly Upload[]): string {
  const lines = list.map(({ path, file, state, trouble }) => [shown(namesOf(path).join('/')), String(file.size), state, trouble]);
  return [COLUMNS, ...lines].map((cells) => `${cells.map(cell).join(',')}\r\n`).join('');
}

/** What a spreadsheet would take for a formula is a text, as in the tables of the server. */
function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
