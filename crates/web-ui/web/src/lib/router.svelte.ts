// Which screen is shown: the address is the only state, so links, reload, back and forward just work.

import { BASE } from './base';

/** A screen and what it shows: a path whose names stay percent-encoded, since not every name is text. */
export type Place = { screen: string; path: string };

export function place(pathname: string, base = BASE): Place {
  const below = isBelow(pathname, base) ? pathname.slice(base.length) : pathname;
  const [screen = '', ...path] = below.split('/').filter((part) => part !== '');
  return { screen, path: path.join('/') };
}

function isBelow(pathname: string, base: string): boolean {
  return pathname === base || pathname.startsWith(`${base}/`);
}

/** The address of a screen; without a name, of the start. */
export function address(screen = '', path = '', base = BASE): string {
  return path === '' ? `${base}/${screen}` : `${base}/${screen}/${path}`;
}

class Router {
  pathname = $state(location.pathname);
  search = $state(location.search);
  readonly place = $derived(place(this.pathname));

  constructor() {
    addEventListener('popstate', () => this.#read());
    addEventListener('click', (event) => this.#follow(event));
  }

  /** Goes to an address that `address` made. */
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
    if (!isBelow(link.pathname, BASE) || /^\/(api|content|dav|s|u)\//.test(link.pathname.slice(BASE.length))) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();
