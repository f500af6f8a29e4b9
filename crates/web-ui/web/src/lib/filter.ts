// Which names of a list hold what somebody types: the words of it in any order, without case and marks, as the search of the
// server has it.

const PLAIN = /^[\x00-\x7f]*$/;
/** Marks that stand with a letter, once it is taken apart. */
const MARKS = /[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]/g;
const LETTERS: Record<string, string> = { ß: 'ss', æ: 'ae', œ: 'oe', ø: 'o', ł: 'l', đ: 'd', ð: 'd', ı: 'i' };
/** Each name is folded once, however often something is typed. */
const known = new WeakMap<object, string>();

/** A name as names are compared. */
export function folded(name: string): string {
  if (PLAIN.test(name)) return name.toLowerCase();
  const plain = name.normalize('NFKD').toLowerCase().replace(MARKS, '');
  return plain.replace(/[ßæœøłđðı]/g, (letter) => LETTERS[letter]!);
}

/** Rows whose names hold every word, in their order; all of them when there is no word. */
export function filtered<Row extends { readonly name: string }>(rows: readonly Row[], text: string): readonly Row[] {
  const words = folded(text).split(/\s+/).filter((word) => word !== '');
  if (words.length === 0) return rows;
  return rows.filter((row) => {
    const name = foldedName(row);
    return words.every((word) => name.includes(word));
  });
}

function foldedName(row: { readonly name: string }): string {
  let name = known.get(row);
  if (name === undefined) {
    name = folded(row.name);
    known.set(row, name);
  }
  return name;
}
