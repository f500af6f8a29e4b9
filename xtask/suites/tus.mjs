// tus-js-client against our server: uploads that are broken off and go on, a server that is killed under one, parallel parts.
//
// Arguments: the server's address, a token, a file. Says "kill" when the server is to be killed and started again, and waits
// for "back".
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

import { Upload } from 'tus-js-client';

const [address, token, path] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}` };
const bytes = readFileSync(path);
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function killServer() {
  console.log('kill');
  const { value } = await lines.next();
  if (value !== 'back') throw new Error(`the server is not back: ${value}`);
}

/** Sends the file, or a part of it: `stopAfter` bytes end it. Returns the upload's address and the last answer. */
function send(options, stopAfter = Infinity) {
  return new Promise((resolve, reject) => {
    const upload = new Upload(bytes, {
      endpoint: `${address}/api/v1/uploads`,
      headers,
      retryDelays: [0, 500, 1000, 2000, 4000],
      ...options,
      onProgress: (sent) => {
        if (sent >= stopAfter) upload.abort().then(() => resolve({ url: upload.url }), reject);
      },
      onError: reject,
      onSuccess: ({ lastResponse }) => resolve({ url: upload.url, outcome: lastResponse.getHeader('Upload-Outcome') }),
    });
    upload.start();
  });
}

async function check(name) {
  const answer = await fetch(`${address}/api/v1/files/${name}`, { headers });
  if (sha256(Buffer.from(await answer.arrayBuffer())) !== sha256(bytes)) throw new Error(`${name} is not what was sent`);
  console.log(`tus-js-client: ${name} is whole`);
}

// Twenty times broken off, each time after a little more.
let url = null;
for (let round = 1; round <= 20; round += 1) {
  const options = { uploadUrl: url, metadata: { path: 'tus-js' }, chunkSize: 700_000 };
  const sent = await send(options, (bytes.length * round) / 21);
  url = sent.url;
  if (round % 7 === 0) await killServer();
}
const last = await send({ uploadUrl: url, metadata: { path: 'tus-js' } });
// Where the end of it came through before it was broken off, nobody is told.
if ((last.outcome ?? 'created') !== 'created') throw new Error(`the outcome is ${last.outcome}`);
await check('tus-js');

// The server dies while bytes are on their way; the client goes on by itself.
const whole = send({ metadata: { path: 'tus-js-killed' }, chunkSize: 700_000 });
await new Promise((resolve) => setTimeout(resolve, 100));
await killServer();
await whole;
await check('tus-js-killed');

await send({ metadata: { path: 'tus-js-parallel' }, parallelUploads: 4 });
await check('tus-js-parallel');
const again = await send({ metadata: { path: 'tus-js' }, uploadDataDuringCreation: true });
if (again.outcome !== 'identical') throw new Error(`the same file again is ${again.outcome}`);
process.exit(0);
