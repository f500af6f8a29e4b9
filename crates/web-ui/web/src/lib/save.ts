// Downloads that a page starts by itself: of an address, or by a form, which can name more than an address holds. Nothing of
// a file goes through the memory of a script.

const REVOKED_MS = 60_000;

/** Saves what is at an address of this server. */
export function save(href: string): void {
  const link = document.createElement('a');
  link.href = href;
  link.download = '';
  link.click();
}

/**
 * Saves what a form with these paths gets. In a window of its own, which the download closes: the page and its uploads stay,
 * and a refusal is read there.
 */
export function saveByForm(action: string, paths: readonly string[]): void {
  const form = document.createElement('form');
  [form.method, form.action, form.target] = ['post', action, '_blank'];
  for (const path of paths) {
    const input = document.createElement('input');
    [input.type, input.name, input.value] = ['hidden', 'path', path];
    form.append(input);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}

/** Saves a text that was made here. */
export function saveText(name: string, type: string, text: string): void {
  const link = document.createElement('a');
  [link.href, link.download] = [URL.createObjectURL(new Blob([text], { type })), name];
  link.click();
  // The browser reads it after this.
  setTimeout(() => URL.revokeObjectURL(link.href), REVOKED_MS);
}

/** Whether browsers say of a form that a page of this server sent it: only behind TLS, and on the machine itself. */
export const canSaveByForm = () => globalThis.isSecureContext;
