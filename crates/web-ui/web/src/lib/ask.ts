// Asks the server's REST interface for what its OpenAPI document allows: methods, addresses, queries, bodies and answers are
// those of `openapi.json`, so that the compiler finds whatever does not fit. Every answer that is no success becomes a
// Trouble, whose text comes from the server's problem+json.

import type { components, paths } from '../../generated/openapi';
import { BASE } from './base';
import { guard } from './guard';

/** Everything that has a name in the document. */
export type Schemas = components['schemas'];

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';
/** Addresses that take a method. */
type Address<M extends Method> = { [A in keyof paths]: paths[A][M] extends object ? A : never }[keyof paths];
type Operation<M extends Method, A extends Address<M>> = paths[A][M];

/** What an operation is told in its address. */
type Places<O> = O extends { parameters: infer P extends AnyPlaces } ? Pick<P, 'path' | 'query'> : never;
type AnyPlaces = { path?: Record<string, string>; query?: Record<string, unknown> };
type Body<O> = O extends { requestBody: { content: { 'application/json': infer B } } } ? { body: B } : { body?: never };
type More = { headers?: Record<string, string>; signal?: AbortSignal };
type Said<O> = Places<O> & Body<O> & More;
/** Where nothing is wanted, nothing has to be said. */
type Saying<O> = object extends Said<O> ? [said?: Said<O>] : [said: Said<O>];

type Content<R> = R extends { content: { 'application/json': infer C } } ? C : undefined;
type Answer<O> = O extends { responses: infer R } ? Content<R[Exclude<keyof R, 'default'>]> : never;

/** What stands behind the question mark of an address. */
export type Query<A extends Address<'get'>> = NonNullable<Places<Operation<'get', A>>['query']>;

/** A request that failed; `status` 0 means that no answer came. */
export class Trouble extends Error {
  readonly status: number;
  /** Tells apart what the status does not; mostly `about:blank`. */
  readonly type: string;

  constructor(status: number, message: string, type = 'about:blank') {
    super(message);
    this.status = status;
    this.type = type;
  }
}

let whenLoggedOut = () => {};

/** What to do when the server does not know this browser any more. */
export function onLoggedOut(act: () => void): void {
  whenLoggedOut = act;
}

/** Called with the status of every answer that does not come through here. */
export function noteStatus(status: number): void {
  if (status === 401) whenLoggedOut();
}

/** What names a change: made again under the same key it is harmless, as the server does it once. */
export function changeKey(): Record<string, string> {
  // Without TLS a browser has no UUIDs, but it has randomness.
  const random = [...crypto.getRandomValues(new Uint8Array(16))];
  return { 'Idempotency-Key': random.map((byte) => byte.toString(16).padStart(2, '0')).join('') };
}

/** Asks, or has something changed, under a key of its own unless the headers have one; the answer is `undefined` where there is nothing more to say. */
export async function ask<M extends Method, A extends Address<M>>(
  method: M,
  address: A,
  ...[said]: Saying<Operation<M, A>>
): Promise<Answer<Operation<M, A>>> {
  const { body, headers, signal, ...places }: AnyPlaces & More & { body?: unknown } = said ?? {};
  const response = await fetch(filled(address, places), {
    method: method.toUpperCase(),
    redirect: 'error',
    headers: {
      ...(method === 'get' ? {} : { ...guard(), ...changeKey() }),
      ...headers,
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      Accept: 'application/json',
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal && { signal }),
  }).catch(() => {
    throw new Trouble(0, 'the server cannot be reached');
  });
  if (!response.ok) {
    noteStatus(response.status);
    throw troubleIn(response.status, await response.text());
  }
  return (response.status === 204 ? undefined : await response.json()) as Answer<Operation<M, A>>;
}

/** Where something is, for links and for whoever asks by other means. */
export function addressOf<A extends Address<'get'>>(address: A, places: Places<Operation<'get', A>>): string {
  return filled(address, places);
}

function filled(address: string, { path = {}, query = {} }: AnyPlaces): string {
  const place = BASE + address.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = path[name] ?? '';
    // Names with / between them, encoded already.
    return name === 'path' ? value : encodeURIComponent(value);
  });
  const pairs = Object.entries(query).flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]));
  const asked = String(new URLSearchParams(pairs));
  return asked === '' ? place : `${place}?${asked}`;
}

/** What the server says is wrong. */
export function troubleIn(status: number, body: string): Trouble {
  try {
    const { detail, type } = JSON.parse(body);
    if (typeof detail === 'string') return new Trouble(status, detail, typeof type === 'string' ? type : undefined);
  } catch {
    // A proxy's page, not an answer of ours.
  }
  return new Trouble(status, `the server answered ${status}`);
}
