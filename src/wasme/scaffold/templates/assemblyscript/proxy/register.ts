// Which filters a module holds. Envoy picks one by its root id.

import { RootContext } from "./contexts";

class Registered {
  constructor(
    readonly rootId: string,
    readonly factory: (id: u32) => RootContext,
    readonly next: Registered | null,
  ) {}
}

let last: Registered | null = null;

/** Offer a filter under a root id; runtime-config.json lists the same ids. Called at the top of the entry file. */
export function register(rootId: string, factory: (id: u32) => RootContext): void {
  last = new Registered(rootId, factory, last);
}

/** The filter for a root id; the only filter of a module answers to every root id. Null if there is none. */
export function createRoot(rootId: string, id: u32): RootContext | null {
  let filter = last;
  while (filter) {
    const only = filter === last && !filter.next;
    if (only || filter.rootId == rootId) return filter.factory(id);
    filter = filter.next;
  }
  return null;
}
