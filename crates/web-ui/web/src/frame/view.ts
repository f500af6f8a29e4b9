// Pages of a PDF one below another. Those near the view are drawn, the nearest first and one at a time; the others are blank
// paper of their size, so that memory is bounded however long the PDF is.

import { TextLayer, type PDFDocumentProxy, type PDFPageProxy, type RenderTask } from 'pdfjs-dist/legacy/build/pdf.mjs';

import { PAGES_MAX } from '../lib/pdf';

/** Most pages that are drawn at a time; each has at most so many pixels, of four bytes. */
const DRAWN_MAX = 8;
const PIXELS_MAX = 6_000_000;
const SIDE_MAX = 8192;
/** Finer than this nobody sees. */
const RATIO_MAX = 2;
const RESIZED_MS = 150;

type Size = { width: number; height: number };

/** One page. */
class Sheet {
  readonly element = document.createElement('figure');
  readonly #number: number;
  #task: RenderTask | undefined;
  #page: PDFPageProxy | undefined;
  /** The width for which it is drawn; 0: it is not. */
  drawnWidth = 0;

  constructor(number: number, count: number, size: Size) {
    this.#number = number;
    this.element.setAttribute('aria-label', `Page ${number} of ${count}`);
    this.#measure(size);
  }

  #measure({ width, height }: Size) {
    this.element.style.aspectRatio = `${width} / ${height}`;
  }

  /** Draws it as wide as it is shown; what was there stays until that is done. */
  async draw(pdf: PDFDocumentProxy): Promise<void> {
    const page = await pdf.getPage(this.#number);
    this.#page = page;
    const natural = page.getViewport({ scale: 1 });
    this.#measure(natural);
    const width = this.element.clientWidth;
    const scale = width / natural.width;
    const shown = page.getViewport({ scale });
    const ratio = Math.min(
      devicePixelRatio,
      RATIO_MAX,
      Math.sqrt(PIXELS_MAX / (shown.width * shown.height)),
      SIDE_MAX / Math.max(shown.width, shown.height),
    );
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.floor(shown.width * ratio));
    canvas.height = Math.max(1, Math.floor(shown.height * ratio));
    // Whoever cannot see it has the text.
    canvas.setAttribute('aria-hidden', 'true');
    this.#task = page.render({ canvas, viewport: page.getViewport({ scale: scale * ratio }) });
    await this.#task.promise;
    this.#task = undefined;
    const text = document.createElement('div');
    text.className = 'text';
    const { pageWidth, pageHeight } = shown.rawDims as { pageWidth: number; pageHeight: number };
    const across = shown.rotation % 180 === 0 ? pageWidth : pageHeight;
    text.style.setProperty('--total-scale-factor', String(shown.width / across));
    this.element.replaceChildren(canvas, text);
    this.drawnWidth = width;
    await new TextLayer({ textContentSource: page.streamTextContent(), container: text, viewport: shown }).render();
  }

  /** Blank again: gives its memory back. */
  clear(): void {
    this.#task?.cancel();
    this.#task = undefined;
    const canvas = this.element.querySelector('canvas');
    if (canvas) canvas.width = canvas.height = 0;
    this.element.replaceChildren();
    this.drawnWidth = 0;
    this.#page?.cleanup();
  }
}

export class View {
  readonly #pdf: PDFDocumentProxy;
  readonly #sheets: Sheet[];
  readonly #near = new Set<Sheet>();
  /** Pages that cannot be drawn are not tried again. */
  readonly #broken = new Set<Sheet>();
  readonly #tellPage: (page: number) => void;
  #isDrawing = false;
  #page = 0;

  /** Lays out blank pages, and begins to draw those in view. */
  static async of(pdf: PDFDocumentProxy, tellPage: (page: number) => void): Promise<View> {
    const first = await pdf.getPage(1);
    return new View(pdf, first.getViewport({ scale: 1 }), tellPage);
  }

  private constructor(pdf: PDFDocumentProxy, size: Size, tellPage: (page: number) => void) {
    this.#pdf = pdf;
    this.#tellPage = tellPage;
    const count = Math.min(pdf.numPages, PAGES_MAX);
    // Until a page is drawn, it is thought to be like the first.
    this.#sheets = Array.from({ length: count }, (_, index) => new Sheet(index + 1, pdf.numPages, size));
    const main = document.createElement('main');
    const title = document.createElement('h1');
    title.textContent = document.title;
    main.append(title, ...this.#sheets.map((sheet) => sheet.element));
    document.body.replaceChildren(main);
    const sheetOf = new Map<Element, Sheet>(this.#sheets.map((sheet) => [sheet.element, sheet]));
    const watcher = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          const sheet = sheetOf.get(target) as Sheet;
          if (isIntersecting) this.#near.add(sheet);
          else if (this.#near.delete(sheet)) sheet.clear();
        }
        this.#look();
      },
      { root: document, rootMargin: '60% 0px' },
    );
    for (const { element } of this.#sheets) watcher.observe(element);
    addEventListener('scroll', () => requestAnimationFrame(() => this.#look()), { passive: true });
    let timer = 0;
    addEventListener('resize', () => {
      clearTimeout(timer);
      timer = window.setTimeout(() => this.#look(), RESIZED_MS);
    });
    this.#look();
  }

  /** Makes pages so wide, as a part of what fits; what stood in the middle stays there. */
  zoom(factor: number): void {
    const root = document.documentElement;
    const across = (root.scrollLeft + root.clientWidth / 2) / root.scrollWidth;
    const down = (root.scrollTop + root.clientHeight / 2) / root.scrollHeight;
    root.style.setProperty('--zoom', String(factor));
    root.scrollLeft = across * root.scrollWidth - root.clientWidth / 2;
    root.scrollTop = down * root.scrollHeight - root.clientHeight / 2;
    this.#look();
  }

  #look(): void {
    const page = this.#indexInView() + 1;
    if (page !== this.#page) {
      this.#page = page;
      this.#tellPage(page);
    }
    void this.#draw();
  }

  /** The page across the middle of the view. */
  #indexInView(): number {
    const { scrollTop, clientHeight } = document.documentElement;
    const middle = scrollTop + clientHeight / 2;
    let [from, to] = [0, this.#sheets.length - 1];
    while (from < to) {
      const at = Math.ceil((from + to) / 2);
      if ((this.#sheets[at]?.element.offsetTop ?? 0) <= middle) from = at;
      else to = at - 1;
    }
    return from;
  }

  /** Draws whatever is missing, and clears what is too far away. */
  async #draw(): Promise<void> {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    for (let sheet = this.#next(); sheet; sheet = this.#next()) {
      try {
        await sheet.draw(this.#pdf);
        // Meanwhile it went out of sight.
        if (!this.#near.has(sheet)) sheet.clear();
      } catch (error) {
        if ((error as Error).name !== 'RenderingCancelledException') {
          sheet.element.textContent = 'This page cannot be drawn.';
          this.#broken.add(sheet);
        }
      }
    }
    this.#isDrawing = false;
  }

  #next(): Sheet | undefined {
    const middle = document.documentElement.clientHeight / 2;
    const away = ({ element }: Sheet) => {
      const { top, bottom } = element.getBoundingClientRect();
      return top <= middle && middle <= bottom ? 0 : Math.min(Math.abs(top - middle), Math.abs(bottom - middle));
    };
    const nearest = [...this.#near].map((sheet) => ({ sheet, away: away(sheet) })).sort((a, b) => a.away - b.away);
    for (const { sheet } of nearest.slice(DRAWN_MAX)) if (sheet.drawnWidth > 0) sheet.clear();
    const isDrawn = (sheet: Sheet) => this.#broken.has(sheet) || sheet.drawnWidth === sheet.element.clientWidth;
    return nearest.slice(0, DRAWN_MAX).find(({ sheet }) => !isDrawn(sheet))?.sheet;
  }
}
