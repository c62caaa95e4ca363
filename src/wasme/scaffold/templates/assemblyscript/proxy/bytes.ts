// Bytes that need not be text: bodies. A word is looked for as its UTF-8, and everything else stays as it is.

import { address } from "./memory";

/** Where `what` stands in `bytes`, from `from` on; -1 if nowhere. An empty `what` stands everywhere. */
export function indexOf(bytes: ArrayBuffer, what: ArrayBuffer, from: i32 = 0): i32 {
  const begin = address(bytes);
  const word = address(what);
  const n = <usize>what.byteLength;
  const first = n > 0 ? load<u8>(word) : 0;
  for (let at = from; at + <i32>n <= bytes.byteLength; at++) {
    if ((n == 0 || load<u8>(begin + at) == first) && memory.compare(begin + at, word, n) == 0) return at;
  }
  return -1;
}

/** Put `replacement` in the place of every `what`, from the front; gives `bytes` itself where there is none. */
export function replaceAll(bytes: ArrayBuffer, what: ArrayBuffer, replacement: ArrayBuffer): ArrayBuffer {
  const n = what.byteLength;
  let count = 0;
  for (let at = indexOf(bytes, what); at >= 0 && n > 0; at = indexOf(bytes, what, at + n)) count++;
  if (count == 0) return bytes;
  const result = new ArrayBuffer(bytes.byteLength + count * (replacement.byteLength - n));
  let from = 0;
  let to = address(result);
  while (count-- > 0) {
    const at = indexOf(bytes, what, from);
    memory.copy(to, address(bytes) + from, at - from);
    to += at - from;
    memory.copy(to, address(replacement), replacement.byteLength);
    to += replacement.byteLength;
    from = at + n;
  }
  memory.copy(to, address(bytes) + from, bytes.byteLength - from);
  return result;
}
