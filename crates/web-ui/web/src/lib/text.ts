// Names inside paths whose parts are percent-encoded.

/** The parts of an encoded path, for people: bytes that are no UTF-8 stay escaped. */
export function namesOf(path: string): string[] {
  if (path === '') return [];
  return path.split('/').map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}

/** The folder that a path is in; empty for the root. */
export function folderOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
}

/** A path inside a folder. */
export function inside(folder: string, encodedName: string): string {
  return folder === '' ? encodedName : `${folder}/${encodedName}`;
}
