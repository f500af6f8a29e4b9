import { expect, test } from 'vitest';

import { chosen, dropped } from './drops';

type Tree = { [name: string]: Tree | string };

/** Entries as browsers give them: asynchronous, folders in batches of two. */
function entry(name: string, what: Tree | string): unknown {
  if (typeof what === 'string') {
    return { name, isFile: true, file: (resolve: (file: File) => void) => resolve(new File([what], name)) };
  }
  const inner = Object.entries(what).map(([name, what]) => entry(name, what));
  const createReader = () => ({ readEntries: (resolve: (some: unknown[]) => void) => resolve(inner.splice(0, 2)) });
  return { name, isFile: false, createReader };
}

function drop(tree: Tree): DataTransfer {
  const items = Object.entries(tree).map(([name, what]) => ({ kind: 'file', webkitGetAsEntry: () => entry(name, what) }));
  return { items: [{ kind: 'string', webkitGetAsEntry: () => null }, ...items] } as unknown as DataTransfer;
}

test('a folder is walked to its end, and its empty folders are kept', async () => {
  const choice = await dropped(drop({ 'a.txt': 'a', photos: { '1': '1', '2': '2', '3': '3', old: {}, deep: { x: 'x' } } }));
  expect(choice.files.map(({ path }) => path.join('/'))).toEqual([
    'a.txt',
    'photos/1',
    'photos/2',
    'photos/3',
    'photos/deep/x',
  ]);
  expect(choice.emptyFolders).toEqual([['photos', 'old']]);
});

test('what cannot be read is told, and the rest is there', async () => {
  const refused = { name: 'locked', isFile: true, file: (_: unknown, reject: (error: Error) => void) => reject(new Error('no right')) };
  const readEntries = (_: unknown, reject: (error: Error) => void) => reject(new Error('gone'));
  const gone = { name: 'gone', isFile: false, createReader: () => ({ readEntries }) };
  const inner = [refused, gone, entry('b.txt', 'b')];
  const createReader = () => ({ readEntries: (resolve: (some: unknown[]) => void) => resolve(inner.splice(0)) });
  const item = { kind: 'file', webkitGetAsEntry: () => ({ name: 'docs', isFile: false, createReader }) };
  const choice = await dropped({ items: [item] } as unknown as DataTransfer);
  expect(choice.files.map(({ path }) => path.join('/'))).toEqual(['docs/b.txt']);
  expect(choice.unreadable).toEqual([
    { path: ['docs', 'locked'], why: 'no right' },
    { path: ['docs', 'gone'], why: 'gone' },
  ]);
  expect(choice.emptyFolders).toEqual([]);
});

test('a drop without entries has its files', async () => {
  const item = { kind: 'file', webkitGetAsEntry: () => null, getAsFile: () => new File(['a'], 'a.txt') };
  const choice = await dropped({ items: [item] } as unknown as DataTransfer);
  expect(choice.files.map(({ path }) => path)).toEqual([['a.txt']]);
});

test('a chosen folder keeps its structure where the browser tells it', () => {
  const file = new File([''], 'b.txt');
  Object.defineProperty(file, 'webkitRelativePath', { value: 'docs/b.txt' });
  expect(chosen([file, new File([''], 'c.txt')]).files.map(({ path }) => path)).toEqual([['docs', 'b.txt'], ['c.txt']]);
});
