// How much is shown: everything, or only what somebody needs who is no expert. This browser remembers it.

export type ModeName = 'full' | 'simple';
const REMEMBERED = 'mode';

function remembered(): ModeName {
  try {
    return localStorage.getItem(REMEMBERED) === 'simple' ? 'simple' : 'full';
  } catch {
    return 'full';
  }
}

class Mode {
  name = $state<ModeName>(remembered());
  /** Whether commands, ids, hashes and the inner works are left out. */
  readonly isSimple = $derived(this.name === 'simple');

  choose(name: ModeName): void {
    this.name = name;
    try {
      if (name === 'simple') localStorage.setItem(REMEMBERED, name);
      else localStorage.removeItem(REMEMBERED);
    } catch {
      // Without storage the choice holds until the page is left.
    }
  }
}

export const mode = new Mode();
