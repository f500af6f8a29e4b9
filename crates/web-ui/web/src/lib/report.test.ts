import { expect, test } from 'vitest';

import type { Upload } from './queue.svelte';
import { report } from './report';

test('each file is a line, whatever it is called', () => {
  const upload = (path: string, state: Upload['state'], trouble = ''): Upload => {
    return { id: 1, file: new File(['abc'], 'x'), path, state, sentBytes: 0, checkedBytes: undefined, newVersion: undefined, trouble };
  };
  const list = [
    upload('docs/a%20b.txt', 'stored'),
    upload('%3D1%2B1', 'identical'),
    upload('taken.txt', 'skipped'),
    upload('c%2C%22d%22', 'failed', 'the disk is full, make room'),
  ];
  expect(report(list)).toBe(
    'name,bytes,outcome,reason\r\ndocs/a b.txt,3,stored,\r\n\'=1+1,3,identical,\r\ntaken.txt,3,skipped,\r\n' +
      '"c,""d""",3,failed,"the disk is full, make room"\r\n',
  );
});
