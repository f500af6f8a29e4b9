// Keys that work everywhere: one sign, or `g` and a letter. What a component does with a focused element is its own matter.

/** What a key asks for. */
export type Wish = { act: 'search' | 'filter' | 'help' } | { act: 'go'; letter: string };

/** How long `g` waits for its letter. */
const SEQUENCE_MS = 1500;

/** What of a key event matters. */
export type Stroke = { key: string; isModified: boolean; isTyping: boolean; time: number };

/** Reads strokes one by one; remembers only a `g` that waits. */
export class KeyReader {
  #waitingSince = -Infinity;

  read(stroke: Stroke): Wish | undefined {
    if (stroke.isModified || stroke.isTyping) {
      this.#waitingSince = -Infinity;
      return undefined;
    }
    const isWaiting = stroke.time - this.#waitingSince <= SEQUENCE_MS;
    this.#waitingSince = stroke.key === 'g' && !isWaiting ? stroke.time : -Infinity;
    if (isWaiting) return /^[a-z]$/.test(stroke.key) ? { act: 'go', letter: stroke.key } : undefined;
    if (stroke.key === '/') return { act: 'search' };
    if (stroke.key === 'f') return { act: 'filter' };
    if (stroke.key === '?') return { act: 'help' };
    return undefined;
  }
}

/** Whether keys typed there are text. */
export function takesText(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  return target instanceof HTMLInputElement && !['checkbox', 'radio', 'button', 'submit', 'file'].includes(target.type);
}
