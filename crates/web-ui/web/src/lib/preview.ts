// What of a file can be looked at in the browser. The server decides again: what a browser could run it only gives out to
// be saved; of that only the text is shown here, and of PDFs what a script without an origin draws.

export type PreviewKind = 'image' | 'video' | 'audio' | 'pdf' | 'text';

const KINDS: Record<PreviewKind, string> = {
  image: 'png jpg jpeg gif webp avif bmp',
  video: 'mp4 m4v webm',
  audio: 'mp3 m4a ogg oga opus wav flac',
  pdf: 'pdf',
  text:
    'txt log md csv tsv json jsonl toml yaml yml ini conf cfg env properties xml html htm svg css js mjs ts svelte vue ' +
    'rs c h cc cpp hpp go py rb java kt swift sh bash sql tex bib diff patch srt vtt gitignore dockerfile makefile',
};

const BY_EXTENSION = new Map(
  (Object.keys(KINDS) as PreviewKind[]).flatMap((kind) => KINDS[kind].split(' ').map((extension) => [extension, kind] as const)),
);

/** How a file of this name is shown; `undefined`: not at all. */
export function previewKind(name: string): PreviewKind | undefined {
  return BY_EXTENSION.get(name.slice(name.lastIndexOf('.') + 1).toLowerCase());
}

/** So much of a text is shown. */
export const TEXT_LEN_MAX = 256 * 1024;

/** Text as it is shown: controls, and what changes its direction, as escapes; lines and tabs stay. */
export function shownText(text: string, escape: (part: string) => string): string {
  return text
    .replaceAll('\r\n', '\n')
    .split(/([\n\t])/)
    .map((part) => (part === '\n' || part === '\t' ? part : escape(part)))
    .join('');
}
