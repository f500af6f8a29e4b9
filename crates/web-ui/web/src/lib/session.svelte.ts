// Who is logged in, in this browser. The cookie is the browser's alone; pages know the account and the session's token.

import { api, type Me, type Session as Answer } from './api';
import { onLoggedOut, Trouble } from './ask';
import { guardWith } from './guard';

/** What the server answers, as a type of problem, when a code has to come with the password. */
const CODE_WANTED = 'urn:delta-backup:code-wanted';

class Session {
  /** `undefined` until the server has said. */
  me = $state.raw<Me | null>();
  trouble = $state.raw<Trouble>();
  /** Whether the account may change anything; those that may only read see no button that would be refused. */
  readonly mayChange = $derived(this.me?.role !== 'read-only');
  /** Whether the account may delete for good what is in its trash. */
  readonly mayPurge = $derived(this.me?.may_purge ?? false);
  /** Whether there was a login, and it is over. */
  isOver = $state(false);

  constructor() {
    onLoggedOut(() => {
      if (!this.me) return;
      this.isOver = true;
      this.#take({ me: null, csrf_token: null, ends_ms: null });
    });
  }

  /** Asks whether this browser is logged in. */
  async look(): Promise<void> {
    this.trouble = undefined;
    try {
      this.#take(await api.session());
    } catch (error) {
      this.trouble = error as Trouble;
    }
  }

  /** Logs in, or says that a code is wanted, too. */
  async logIn(account: string, password: string, code?: string): Promise<'done' | 'code-wanted'> {
    try {
      this.#take(await api.logIn(account, password, code));
    } catch (error) {
      if (error instanceof Trouble && error.type === CODE_WANTED) return 'code-wanted';
      throw error;
    }
    this.isOver = false;
    return 'done';
  }

  async logOut(): Promise<void> {
    await api.logOut();
    this.#take({ me: null, csrf_token: null, ends_ms: null });
  }

  /** Takes the answer of a change that began another session. */
  renewed(answer: Answer | undefined): Promise<void> {
    if (answer && 'me' in answer) {
      this.#take(answer);
      return Promise.resolve();
    }
    return this.look();
  }

  #take(answer: Answer): void {
    guardWith(answer.csrf_token);
    this.me = answer.me;
  }
}

export const session = new Session();
