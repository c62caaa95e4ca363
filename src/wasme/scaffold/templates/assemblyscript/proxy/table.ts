// Contexts and calls by the numbers that the host gives them: a hash table of linked entries, of fixed width.
// A request's entry is found in constant time up to thousands of requests at once, and nothing is ever rehashed.

/** What a table holds: it carries its own number and link. */
export abstract class Entry {
  next: Entry | null = null;
  constructor(readonly id: u32) {}
}

/** A table of entries. Numbers follow each other, so their low bits spread them evenly. */
export class Table {
  private rows: StaticArray<Entry | null> = new StaticArray<Entry | null>(256);

  get(id: u32): Entry | null {
    let entry = unchecked(this.rows[id & 255]);
    while (entry && entry.id != id) entry = entry.next;
    return entry;
  }

  add(entry: Entry): void {
    const row = entry.id & 255;
    entry.next = unchecked(this.rows[row]);
    unchecked((this.rows[row] = entry));
  }

  remove(id: u32): void {
    const row = id & 255;
    let before: Entry | null = null;
    let entry = unchecked(this.rows[row]);
    while (entry && entry.id != id) {
      before = entry;
      entry = entry.next;
    }
    if (!entry) return;
    if (before) before.next = entry.next;
    else unchecked((this.rows[row] = entry.next));
  }
}
