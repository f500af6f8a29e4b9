// What a request has to show so that the server believes that a page of its own asks: the token of the session.

let token: string | null = null;

/** Headers for requests that change something; none while nobody is logged in. */
export function guard(): Record<string, string> {
  return token === null ? {} : { 'X-CSRF-Token': token };
}

/** Another session has another token. */
export function guardWith(found: string | null): void {
  token = found;
}
