// Finds the page's elements; a missing one is a defect of the page, said at once.

/** The element with this id and of this kind. */
export function element<T extends Element>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** Writes text only when it changed: a figure that stands still costs no layout and no screen reader. */
export function write(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}
