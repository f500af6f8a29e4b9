// Numbers and times as people read them: the same units as the programs print.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Bytes with a unit of 1024s: three digits at most, exact below 1 KiB. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  // 1023.96 would be written as 1024: that is one of the next unit.
  if (unit > 0 && value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** A count with thousands set apart. */
export function count(value: number): string {
  return value.toLocaleString('en');
}

/** `1 file`, `2 files`. */
export function counted(value: number, one: string, many: string): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Day and minute in the browser's zone; `time` in Unix milliseconds. */
export function moment(time: number): string {
  const date = new Date(time);
  const two = (part: number) => String(part).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** How long ago, in the largest unit that fits; `just now` below a minute. */
export function ago(time: number, now: number): string {
  const seconds = Math.max(0, Math.round((now - time) / 1000));
  if (seconds < 60) return 'just now';
  if (seconds < 3600) return `${counted(Math.floor(seconds / 60), 'minute', 'minutes')} ago`;
  if (seconds < 86_400) return `${counted(Math.floor(seconds / 3600), 'hour', 'hours')} ago`;
  return `${counted(Math.floor(seconds / 86_400), 'day', 'days')} ago`;
}

/** Time left: `9 s`, `4 min`, `2 h 5 min`. Empty when nobody can tell. */
export function remaining(seconds: number): string {
  if (!Number.isFinite(seconds)) return '';
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.ceil(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]/g;

/** A name as it is shown: controls, and what changes the direction of text, as escapes. */
export function shown(name: string): string {
  return name.replace(CONTROLS, (sign) => `\\u{${sign.codePointAt(0)!.toString(16)}}`);
}

/** A word for a shell, quoted if it must be. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
