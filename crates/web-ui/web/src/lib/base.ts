// Where the application is: alone under the server's name, or below a path at which a proxy shows it. Its own script knows,
// since the page says where that is: it lies in `assets`.

/** What stands before every path of the server, as this place does: empty, or `/backup`. */
export function baseOf(script: string): string {
  return /^(.*)\/assets\/[^/]*$/.exec(new URL(script).pathname)?.[1] ?? '';
}

export const BASE = baseOf(import.meta.url);
