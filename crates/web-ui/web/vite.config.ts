import { readFileSync } from 'node:fs';

import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** Where what is really in the bundles is: those of workers are made before the application's. */
const folders = new Set<string>();

/** Notes what is in a bundle; the last writes the licences of it all to `licenses.json`, for the About page. */
function licences(isLast: boolean): Plugin {
  return {
    name: 'licences',
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type !== 'chunk') continue;
        for (const id of file.moduleIds) {
          const found = /^(?:\0)?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id);
          if (found?.[1]) folders.add(found[1]);
        }
      }
      if (!isLast) return;
      const list = [...folders].map((folder) => {
        const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
        return { name, version, license };
      });
      list.sort((a, b) => a.name.localeCompare(b.name));
      this.emitFile({ type: 'asset', fileName: 'licenses.json', source: JSON.stringify(list) });
    },
  };
}

/** What answers whatever is not the application's while it is worked on. */
const SERVER = { target: process.env.BACKUP_SERVER ?? 'https://127.0.0.1:8440', secure: false };

export default defineConfig({
  plugins: [svelte(), licences(true)],
  worker: { format: 'es', plugins: () => [licences(false)] },
  build: {
    // The Content-Security-Policy allows no inline style, script or data: address.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // Scripts and style sheets find each other below any base; the pages are told by the server where they are shown.
  experimental: { renderBuiltUrl: (_file, { hostType }) => (hostType === 'html' ? undefined : { relative: true }) },
  server: { proxy: Object.fromEntries(['/api', '/content', '/pdf'].map((path) => [path, SERVER])) },
  // No test is timed: what hangs ends, and a slow machine has a minute.
  test: { include: ['src/**/*.test.ts'], testTimeout: 60_000, hookTimeout: 60_000 },
});
