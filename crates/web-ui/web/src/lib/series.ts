// What charts draw: one point for each hour or day up to now, those in which nothing happened included.

import type { Point, SpanName } from './api';

const SPANS = { hour: { ms: 3_600_000, count: 48 }, day: { ms: 86_400_000, count: 60 } } as const;

export type Series = {
  /** Unix seconds. */
  times: number[];
  source: number[];
  sent: number[];
  stored: number[];
  packed: number[];
  /** Share of the source that was not stored, in percent; null where there was none. */
  savedPercent: (number | null)[];
};

/** Share that was saved, in percent; null of nothing. */
export function savedPercent(source: number, used: number): number | null {
  return source > 0 ? Math.max(0, (100 * (source - used)) / source) : null;
}

/** The points of the last spans before `now`. */
export function series(points: readonly Point[], span: SpanName, now: number): Series {
  const { ms, count } = SPANS[span];
  const end = Math.floor(now / ms) * ms;
  const first = end - (count - 1) * ms;
  const found = new Map(points.map((point) => [point.start_ms, point]));
  // What lay here before anything in sight.
  let packed = points.findLast((point) => point.start_ms < first)?.packed_bytes ?? 0;
  const made: Series = { times: [], source: [], sent: [], stored: [], packed: [], savedPercent: [] };
  for (let start = first; start <= end; start += ms) {
    const point = found.get(start);
    packed = point?.packed_bytes ?? packed;
    made.times.push(start / 1000);
    made.source.push(point?.source_bytes ?? 0);
    made.sent.push(point?.sent_bytes ?? 0);
    made.stored.push(point?.stored_bytes ?? 0);
    made.packed.push(packed);
    made.savedPercent.push(savedPercent(point?.source_bytes ?? 0, point?.stored_bytes ?? 0));
  }
  return made;
}
