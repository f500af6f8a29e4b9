// What goes on at the server, as it does: a stream of events, and what is asked again when one of them says that it changed.

import { api, Trouble, type Health, type Hello, type News, type Now, type SpanName, type Statistics } from './api';
import { addressOf } from './ask';

const NEWS_MAX = 200;
const AGAIN_MS = 1000;
/** Figures move with what is on its way. */
const MOVING_MS = 5000;
const HEALTH_MS = 60_000;
/** Time in which the stream says something, where it gets through. */
const SILENT_MS = 5000;
const REOPEN_MS = 2000;
const REOPEN_MAX_MS = 30_000;

export class Live {
  isConnected = $state(false);
  /** Whether there was a connection, or a try, and now there is none. */
  isOffline = $state(false);
  now = $state.raw<Now>({ transfers: [], hidden_count: 0, connected_devices: [] });
  /** The newest first. */
  news = $state.raw<readonly News[]>([]);
  statistics = $state.raw<Statistics>();
  health = $state.raw<Health>();
  trouble = $state.raw<Trouble>();
  /** What time it is, for ages; every half minute. */
  clock = $state(Date.now());

  #span: SpanName = 'hour';
  #events: EventSource | undefined;
  #lastId = '';
  #reopenMs = REOPEN_MS;
  #timers = new Set<number>();
  /** When figures are asked for next. */
  #askAt = Infinity;
  #isStopped = false;

  /** Listens until the result is called. */
  start(): () => void {
    this.#open();
    const ticks = [
      setInterval(() => (this.clock = Date.now()), HEALTH_MS / 2),
      setInterval(() => !this.isOffline && this.#ask(), HEALTH_MS),
    ];
    // A proxy that holds the stream back keeps nobody from the figures.
    this.#later(() => this.isConnected || this.isOffline || this.#askAll(), SILENT_MS);
    return () => {
      this.#isStopped = true;
      ticks.forEach(clearInterval);
      this.#timers.forEach(clearTimeout);
      this.#events?.close();
    };
  }

  /** Shows figures by this span from now on. */
  async show(span: SpanName): Promise<void> {
    this.#span = span;
    this.statistics = await api.statistics(span);
  }

  #open(): void {
    const query = this.#lastId === '' ? {} : { after: this.#lastId };
    const events = new EventSource(addressOf('/api/v1/events', { query }));
    this.#events = events;
    const on = <Data>(name: string, act: (data: Data, id: string) => void) =>
      events.addEventListener(name, (event) => act(JSON.parse(event.data), event.lastEventId));
    on<Hello>('hello', (hello) => {
      this.isConnected = true;
      this.isOffline = false;
      this.#reopenMs = REOPEN_MS;
      this.#lastId = `${hello.epoch}-${hello.number}`;
      void this.#askAll();
    });
    on<Now>('now', (now) => {
      this.now = now;
      if (now.transfers.length > 0) this.#askSoon(MOVING_MS);
    });
    on<News>('activity', (news, id) => {
      this.#lastId = id;
      this.clock = Date.now();
      if (this.news.every((known) => known.number !== news.number)) this.news = [news, ...this.news].slice(0, NEWS_MAX);
      this.#askSoon();
    });
    on('missed', () => void this.#askAll());
    events.addEventListener('error', () => {
      this.isConnected = false;
      this.isOffline = true;
      // While it is connecting the browser tries by itself; after an answer it does not like, it gives up.
      if (events.readyState === EventSource.CLOSED) this.#reopen();
    });
  }

  /** Tries again after a while. Whoever is logged out is told by another request first. */
  #reopen(): void {
    this.#events?.close();
    this.#later(async () => {
      await this.#ask();
      if (!this.#isStopped) this.#open();
    }, this.#reopenMs);
    this.#reopenMs = Math.min(REOPEN_MAX_MS, 2 * this.#reopenMs);
  }

  async #askAll(): Promise<void> {
    try {
      const [news] = await Promise.all([api.activity({ limit: NEWS_MAX }), this.#ask()]);
      this.news = news;
    } catch (error) {
      this.trouble = error as Trouble;
    }
  }

  async #ask(): Promise<void> {
    try {
      [this.statistics, this.health] = await Promise.all([api.statistics(this.#span), api.health()]);
      this.trouble = undefined;
    } catch (error) {
      this.trouble = error as Trouble;
    }
  }

  /** Asks for figures, once for many events, and `ms` after the first of them. */
  #askSoon(ms = AGAIN_MS): void {
    const at = Date.now() + ms;
    if (at >= this.#askAt) return;
    this.#askAt = at;
    this.#later(async () => {
      if (this.#askAt !== at) return;
      this.#askAt = Infinity;
      await this.#ask();
    }, ms);
  }

  #later(act: () => void, ms: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms) as unknown as number;
    this.#timers.add(timer);
  }
}
