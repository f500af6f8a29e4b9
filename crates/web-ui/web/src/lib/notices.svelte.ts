// Short messages about what was done or went wrong. Those about trouble stay until they are closed.

export type Notice = { id: number; kind: 'done' | 'trouble'; text: string; undo?: () => void };

const SHOWN_MS = 6000;
/** With a way back; time to get to it. */
const UNDOABLE_MS = 10_000;
const COUNT_MAX = 4;

class Notices {
  list = $state<Notice[]>([]);
  #next = 1;
  readonly #timers = new Map<number, ReturnType<typeof setTimeout>>();

  /** Says that something was done, with a way to undo it if there is one. */
  done(text: string, undo?: () => void): void {
    this.#expire(this.#add(undo ? { kind: 'done', text, undo } : { kind: 'done', text }));
  }

  /** Says what failed and why. */
  trouble(text: string): void {
    this.#add({ kind: 'trouble', text });
  }

  close(id: number): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.list = this.list.filter((notice) => notice.id !== id);
  }

  /** Undoes what was done last, while its notice is there; `false` when there is none. */
  undo(): boolean {
    const last = this.list.findLast(({ undo }) => undo);
    if (!last) return false;
    this.close(last.id);
    last.undo?.();
    return true;
  }

  /** While somebody is at them none goes. */
  hold(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** They go again, after as long as if they had just come. */
  release(): void {
    for (const notice of this.list) if (notice.kind === 'done' && !this.#timers.has(notice.id)) this.#expire(notice);
  }

  #expire({ id, undo }: Notice): void {
    this.#timers.set(id, setTimeout(() => this.close(id), undo ? UNDOABLE_MS : SHOWN_MS));
  }

  #add(said: Omit<Notice, 'id'>): Notice {
    const notice = { ...said, id: this.#next++ };
    const list = [...this.list, notice];
    for (const { id } of list.slice(0, -COUNT_MAX)) this.close(id);
    this.list = list.slice(-COUNT_MAX);
    return notice;
  }
}

export const notices = new Notices();
