// Which files the drive has, asked in few requests: questions of one moment go together, and with them those of the files that
// wait next, whose answers are there when their turn comes.

import type { Asked, KnownState } from './api';

/** Questions come together so long. */
const WAIT_MS = 20;
const COUNT_MAX = 200;
/** A little less than the server takes. */
const BYTES_MAX = 60 * 1024;
/** What was told of a file that waits is asked again after so long. */
const GOOD_MS = 30_000;

type Ask = (files: Asked[]) => Promise<KnownState[]>;
type Question = { readonly asked: Asked; readonly tell: (state: KnownState) => void; readonly fail: (error: unknown) => void };

export class Knowing {
  readonly #ask: Ask;
  readonly #upcoming: () => Iterable<Asked>;
  #questions: Question[] = [];
  /** Told, or about to be, of files that nobody has asked for yet. */
  readonly #early = new Map<string, { readonly state: Promise<KnownState>; readonly at: number }>();

  /** `upcoming` are those that will be asked for next, in that order. */
  constructor(ask: Ask, upcoming: () => Iterable<Asked>) {
    this.#ask = ask;
    this.#upcoming = upcoming;
  }

  /** What the drive has of a file. */
  state(asked: Asked): Promise<KnownState> {
    const key = keyOf(asked);
    const early = this.#early.get(key);
    this.#early.delete(key);
    if (early && Date.now() - early.at < GOOD_MS) return early.state;
    return new Promise((tell, fail) => {
      this.#questions.push({ asked, tell, fail });
      if (this.#questions.length === 1) setTimeout(() => this.#flush(), WAIT_MS);
    });
  }

  #flush(): void {
    const questions = this.#questions.splice(0);
    let batch: Question[] = [];
    let bytes = 0;
    for (const question of questions) {
      const len = lenOf(question.asked);
      if (batch.length === COUNT_MAX || bytes + len > BYTES_MAX) {
        this.#send(batch);
        [batch, bytes] = [[], 0];
      }
      batch.push(question);
      bytes += len;
    }
    this.#send([...batch, ...this.#ahead(COUNT_MAX - batch.length, BYTES_MAX - bytes)]);
  }

  /** Questions that will be asked soon, as far as there is room for them. */
  #ahead(count: number, bytes: number): Question[] {
    const now = Date.now();
    for (const [key, { at }] of this.#early) if (now - at >= GOOD_MS) this.#early.delete(key);
    const found: Question[] = [];
    let left = bytes;
    for (const asked of this.#upcoming()) {
      const key = keyOf(asked);
      if (this.#early.has(key)) continue;
      left -= lenOf(asked);
      if (found.length >= count || left < 0) break;
      const state = new Promise<KnownState>((tell, fail) => found.push({ asked, tell, fail }));
      // Nobody may ever want to know.
      state.catch(() => this.#early.delete(key));
      this.#early.set(key, { state, at: now });
    }
    return found;
  }

  #send(batch: readonly Question[]): void {
    this.#ask(batch.map(({ asked }) => asked)).then(
      (states) => batch.forEach(({ tell, fail }, index) => (states[index] ? tell(states[index]) : fail(new Error('no answer')))),
      (error) => batch.forEach(({ fail }) => fail(error)),
    );
  }
}

function keyOf({ path, size, sha256 }: Asked): string {
  return `${size} ${sha256 ?? ''} ${path}`;
}

/** Bytes that a question takes; its path is ASCII. */
function lenOf(asked: Asked): number {
  return JSON.stringify(asked).length + 1;
}
