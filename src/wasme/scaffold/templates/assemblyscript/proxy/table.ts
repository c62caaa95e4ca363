// Contexts and calls by the numbers that the host gives them: a hash table of linked entries, of fixed width.
// A request's entry is found in constant time up to thousands of requests at once, and nothing is ever rehashed.
//
// The rows lie in memory that the garbage collector does not look at: it need not walk through them again and again.
// What stands in a table is pinned instead, from `add` until `remove`.

/** What a table holds: it carries its own number and link. */
export abstract class Entry {
  /** The next entry's address. */
  next: usize = 0;
  constructor(readonly id: u32) {}
}

/** How many rows a table has; its size in bytes is four times that. Numbers follow each other, so they spread evenly. */
// @ts-ignore: decorator
@inline export const ROWS: u32 = 256;

/** The address of the word that leads to the first entry of a number's row. */
function row(table: usize, id: u32): usize {
  return table + ((id % ROWS) << 2);
}

/** The address of the word that leads to the entry with this number; the word is 0 where there is none such. */
function place(table: usize, id: u32): usize {
  let at = row(table, id);
  for (let entry = load<usize>(at); entry; entry = load<usize>(at)) {
    if (load<u32>(entry, offsetof<Entry>("id")) == id) break;
    at = entry + offsetof<Entry>("next");
  }
  return at;
}

/** The address of the entry with this number, or 0. */
export function get(table: usize, id: u32): usize {
  return load<usize>(place(table, id));
}

/** Put an entry into a table; one of the same number is found again when this one is gone. */
export function add(table: usize, entry: Entry): void {
  const at = row(table, entry.id);
  entry.next = load<usize>(at);
  store<usize>(at, __pin(changetype<usize>(entry)));
}

/** Take an entry out; nothing happens where there is none such. */
export function remove(table: usize, id: u32): void {
  const at = place(table, id);
  const entry = load<usize>(at);
  if (entry == 0) return;
  store<usize>(at, load<usize>(entry, offsetof<Entry>("next")));
  __unpin(entry);
}
