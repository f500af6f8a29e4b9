// Files that a person drops or chooses, folders with all they hold.

/** A file with the folders it lies in, as far as they were chosen with it. */
export type Chosen = { file: File; path: string[] };
/** Files, folders that hold nothing, and what the browser could not read, with why. */
export type Choice = { files: Chosen[]; emptyFolders: string[][]; unreadable: { path: string[]; why: string }[] };

/** What lies in a drop. Entries must be asked for before anything is waited for: the browser empties the drop then. */
export async function dropped(transfer: DataTransfer): Promise<Choice> {
  const items = [...transfer.items].filter((item) => item.kind === 'file');
  // Not every drop has entries: then there are its files alone.
  const found = items.map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  const choice: Choice = { files: [], emptyFolders: [], unreadable: [] };
  for (const what of found) {
    if (what instanceof File) choice.files.push({ file: what, path: [what.name] });
    else if (what) await walk(what, [], choice);
  }
  return choice;
}

/** What was chosen in an `input`, of files or of a folder. */
export function chosen(files: Iterable<File>): Choice {
  const list = [...files].map((file) => ({ file, path: (file.webkitRelativePath || file.name).split('/') }));
  return { files: list, emptyFolders: [], unreadable: [] };
}

/** What cannot be read is passed over, and the rest is not lost for it. */
async function walk(entry: FileSystemEntry, above: readonly string[], choice: Choice): Promise<void> {
  const path = [...above, entry.name];
  try {
    await look(entry, path, choice);
  } catch (error) {
    choice.unreadable.push({ path, why: (error as Error).message });
  }
}

async function look(entry: FileSystemEntry, path: readonly string[], choice: Choice): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    choice.files.push({ file, path: [...path] });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  let isEmpty = true;
  for (;;) {
    // Browsers give about a hundred at a time, and nothing at the end.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    isEmpty = false;
    for (const inner of some) await walk(inner, path, choice);
  }
  if (isEmpty) choice.emptyFolders.push([...path]);
}
