// Short messages about what was done or went wrong. Those about trouble stay until they are closed.

export type Notice = { id: number; kind: 'done' | 'trouble'; text: string; undo?: () => void };

const SHOWN_MS = 6000;
const COUNT_MAX = 4;

class Notices {
  list = $state<Notice[]>([]);
  #next = 1;

  /** Says that something was done, with a way to undo it if there is one. */
  done(text: string, undo?: () => void): void {
    const id = this.#add(undo ? { kind: 'done', text, undo } : { kind: 'done', text });
    setTimeout(() => this.close(id), SHOWN_MS);
  }

  /** Says what failed and why. */
  trouble(text: string): void {
    this.#add({ kind: 'trouble', text });
  }

  close(id: number): void {
    this.list = this.list.filter((notice) => notice.id !== id);
  }

  #add(notice: Omit<Notice, 'id'>): number {
    const id = this.#next++;
    this.list = [...this.list, { ...notice, id }].slice(-COUNT_MAX);
    return id;
  }
}

export const notices = new Notices();
