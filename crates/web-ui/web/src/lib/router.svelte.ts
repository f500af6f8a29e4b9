// Which screen is shown: the address is the only state, so links, reload, back and forward just work.

/** A screen and what it shows: a path whose names stay percent-encoded, since not every name is text. */
export type Place = { screen: string; path: string };

export function place(pathname: string): Place {
  const [screen = '', ...path] = pathname.split('/').filter((part) => part !== '');
  return { screen, path: path.join('/') };
}

/** The address of a screen. */
export function address(screen: string, path = ''): string {
  return path === '' ? `/${screen}` : `/${screen}/${path}`;
}

class Router {
  pathname = $state(location.pathname);
  search = $state(location.search);
  readonly place = $derived(place(this.pathname));

  constructor() {
    addEventListener('popstate', () => this.#read());
    addEventListener('click', (event) => this.#follow(event));
  }

  /** Goes to an address of the application. */
  go(to: string, replace = false): void {
    if (replace) history.replaceState(null, '', to);
    else history.pushState(null, '', to);
    this.#read();
  }

  #read(): void {
    this.pathname = location.pathname;
    this.search = location.search;
  }

  /** Links inside the application change the address without loading; all others are the browser's. */
  #follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = (event.target as Element | null)?.closest?.('a');
    if (!link || link.target !== '' || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (/^\/(api|content|dav|s|u)\//.test(link.pathname)) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();
