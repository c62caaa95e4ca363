// How bytes cross the border between the host and this module.
//
// To hand over bytes, the host calls `proxy_on_memory_allocate`, writes there, and stores the address and length in the
// two words at OUT. We give it a pinned ArrayBuffer of the managed heap; `taken` unpins it and it is an ordinary value:
// nothing is copied twice and nothing has to be freed. A host call hands over at most one buffer.
//
// Values that go to the host must be held in a local variable for the time of the call: the host may allocate, and
// allocation may collect what no local holds.

/** Scratch for what host calls give back: two words, or one of 64 bits; a third word for calls that need it. */
// @ts-ignore: decorator
@lazy export const OUT: usize = memory.data(16, 8);
// @ts-ignore: decorator
@lazy const NOTHING = new ArrayBuffer(0);

/** The host asks for room. */
export function proxy_on_memory_allocate(size: usize): usize {
  return __pin(changetype<usize>(new ArrayBuffer(<i32>size)));
}

/** The buffer that the host call just made has left at OUT, now ours. */
export function taken(): ArrayBuffer {
  const at = load<usize>(OUT);
  if (at == 0) return NOTHING;
  __unpin(at);
  return changetype<ArrayBuffer>(at);
}

/** As `taken`, decoded from UTF-8. */
export function takenText(): string {
  return text(taken());
}

/** Clear OUT, for host calls that may leave it untouched. */
export function clear(): void {
  store<u64>(OUT, 0);
}

/** UTF-8 bytes to text. */
export function text(bytes: ArrayBuffer): string {
  return String.UTF8.decodeUnsafe(changetype<usize>(bytes), bytes.byteLength);
}

/** Whether bytes are UTF-8: what they say in text is them again. */
export function isUtf8(bytes: ArrayBuffer): bool {
  const decoded = text(bytes);
  if (String.UTF8.byteLength(decoded) != bytes.byteLength) return false;
  const again = new ArrayBuffer(bytes.byteLength);
  String.UTF8.encodeUnsafe(
    changetype<usize>(decoded), decoded.length, changetype<usize>(again), false, String.UTF8.ErrorMode.REPLACE,
  );
  return memory.compare(changetype<usize>(again), changetype<usize>(bytes), bytes.byteLength) == 0;
}

/** Text to UTF-8 bytes. */
export function utf8(value: string): ArrayBuffer {
  const bytes = new ArrayBuffer(String.UTF8.byteLength(value));
  String.UTF8.encodeUnsafe(changetype<usize>(value), value.length, changetype<usize>(bytes));
  return bytes;
}

/** The address of a buffer, for a host call; hold the buffer in a local variable. */
// @ts-ignore: decorator
@inline
export function address(bytes: ArrayBuffer): usize {
  return changetype<usize>(bytes);
}
