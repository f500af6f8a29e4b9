// What a browser calls itself, in short: `Firefox 140 on Linux`. Only for people: nothing depends on it.

const BROWSERS: readonly (readonly [RegExp, string])[] = [
  [/Edg(?:A|iOS)?\/(\d+)/, 'Edge'],
  [/OPR\/(\d+)/, 'Opera'],
  [/(?:Firefox|FxiOS)\/(\d+)/, 'Firefox'],
  [/(?:Chrome|CriOS)\/(\d+)/, 'Chrome'],
  [/Version\/(\d+).* Safari\//, 'Safari'],
];
const SYSTEMS: readonly (readonly [RegExp, string])[] = [
  [/Android/, 'Android'],
  [/iPhone|iPad/, 'iOS'],
  [/Windows/, 'Windows'],
  [/Mac OS X/, 'macOS'],
  [/Linux/, 'Linux'],
];

/** The short name; what is not known stays as it is. */
export function browserOf(agent: string): string {
  const browser = BROWSERS.find(([sign]) => sign.test(agent));
  if (!browser) return agent;
  const version = browser[0].exec(agent)?.[1] ?? '';
  const system = SYSTEMS.find(([sign]) => sign.test(agent));
  return `${browser[1]} ${version}${system ? ` on ${system[1]}` : ''}`;
}
