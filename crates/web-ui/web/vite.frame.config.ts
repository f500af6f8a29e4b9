// The page in which a PDF is drawn: one classic script, since a page of an opaque origin loads no modules, and the files that
// pdf.js wants for some PDFs. Built after the application, into the same folder.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';

import type { Plugin } from 'vite';
import { defineConfig } from 'vite';

const PDFJS = dirname(createRequire(import.meta.url).resolve('pdfjs-dist/package.json'));
/** Two decoders, two fonts of symbols, and what the numbers in East Asian text mean. */
const DATA = [
  'wasm/jbig2.wasm',
  'wasm/openjpeg.wasm',
  'standard_fonts/FoxitDingbats.pfb',
  'standard_fonts/FoxitSymbol.pfb',
  ...readdirSync(join(PDFJS, 'cmaps')).filter((name) => name.endsWith('.bcmap')).map((name) => `cmaps/${name}`),
];
/** What is in pdf.js besides itself. */
const WITHIN = [
  { name: 'Adobe CMap resources', license: 'BSD-3-Clause' },
  { name: 'core-js', license: 'MIT' },
  { name: 'Foxit fonts', license: 'BSD-3-Clause' },
  { name: 'OpenJPEG', license: 'BSD-2-Clause' },
  { name: 'PDFium (JBIG2)', license: 'BSD-3-Clause' },
];

/** Emits the files, and adds pdf.js to the licences that the application's build wrote. */
function files(): Plugin {
  let dist = '';
  return {
    name: 'pdf-files',
    configResolved(config) {
      dist = config.build.outDir;
    },
    generateBundle() {
      for (const path of DATA) {
        this.emitFile({ type: 'asset', fileName: `pdf/data/${basename(path)}`, source: readFileSync(join(PDFJS, path)) });
      }
      const { name, version, license } = JSON.parse(readFileSync(join(PDFJS, 'package.json'), 'utf8'));
      const known: { name: string }[] = JSON.parse(readFileSync(join(dist, 'licenses.json'), 'utf8'));
      const list = [...known, { name, version, license }, ...WITHIN.map((one) => ({ ...one, version: `in ${name}` }))];
      list.sort((a, b) => a.name.localeCompare(b.name));
      this.emitFile({ type: 'asset', fileName: 'licenses.json', source: JSON.stringify(list) });
    },
  };
}

export default defineConfig({
  plugins: [files()],
  publicDir: false,
  build: {
    emptyOutDir: false,
    modulePreload: false,
    // All of pdf.js: loaded when the first PDF is looked at.
    chunkSizeWarningLimit: 2000,
    reportCompressedSize: false,
    rollupOptions: {
      input: 'src/frame/main.ts',
      output: { format: 'iife', entryFileNames: 'pdf/draw.js' },
    },
  },
});
