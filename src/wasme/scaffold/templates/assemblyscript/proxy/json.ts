// Enough JSON for a configuration: the members of one object, read by name. Nothing is built in memory: the text is
// checked once, and each look-up reads it again.

/** A JSON object. */
export class JsonObject {
  private constructor(private text: string) {}

  /** Whether a configuration is meant to be an object: its first character other than white space is "{". */
  static looksLike(text: string): bool {
    open(text);
    return peek() == 0x7b;
  }

  /** Read an object; null if the text is not one, or nests deeper than 32. */
  static parse(text: string): JsonObject | null {
    open(text);
    return peek() == 0x7b && value(32) && peek() == 0 && at == end ? new JsonObject(text) : null;
  }

  /**
   * A member's value, or `missing`. Strings are unescaped; any other value (a number, true, an object, a list…) is given
   * as it is written. Of members with the same name the last counts.
   */
  get(name: string, missing: string): string {
    if (!this.find(name)) return missing;
    if (peek() == 0x22) return unquoted();
    const start = at;
    value(32);
    return String.UTF16.decodeUnsafe(start, at - start);
  }

  /** A member that is a string, or `missing`; null where it is anything else. */
  getText(name: string, missing: string): string | null {
    if (!this.find(name)) return missing;
    return peek() == 0x22 ? unquoted() : null;
  }

  /** A member that is a whole number, or `missing`; `i64.MIN_VALUE` where it is anything else or too large. */
  getInteger(name: string, missing: i64): i64 {
    if (!this.find(name)) return missing;
    const sign: i64 = eat(0x2d) ? -1 : 1;
    const start = at;
    let number: i64 = 0;
    while (isDigit(load<u16>(at))) {
      if (number > i64.MAX_VALUE / 10 - 1) return i64.MIN_VALUE;
      number = number * 10 + (<i64>load<u16>(at) - 0x30);
      at += 2;
    }
    const behind = at > start ? peek() : 0; // a dot or an exponent, if it is no whole number
    return behind == 0x2c || behind == 0x7d ? number * sign : i64.MIN_VALUE;
  }

  /** Whether there is a member of this name. */
  has(name: string): bool {
    return this.find(name);
  }

  /** Bring the reader to a member's value; false if there is none. */
  private find(name: string): bool {
    open(this.text);
    let found: usize = 0;
    let separator = eat(0x7b);
    while (separator && peek() == 0x22) {
      const wanted = unquoted() == name;
      eat(0x3a);
      if (wanted) found = at;
      value(32);
      separator = eat(0x2c);
    }
    at = found;
    return found != 0;
  }
}

// The reader: it stands at address `at` of the text's UTF-16.
let at: usize = 0;
let end: usize = 0;

function open(text: string): void {
  at = changetype<usize>(text);
  end = at + (<usize>text.length << 1);
}

/** The next character other than white space, where the reader then stands; 0 at the end. */
function peek(): u32 {
  while (at < end) {
    const code = <u32>load<u16>(at);
    if (code != 0x20 && code - 9 > 1 && code != 0x0d) return code;
    at += 2;
  }
  return 0;
}

/** Pass over one character, if it comes next. */
function eat(code: u32): bool {
  if (peek() != code) return false;
  at += 2;
  return true;
}

/** Pass over any value; false if it is none. */
function value(depth: u32): bool {
  const first = peek();
  if (first == 0x22) return quoted();
  if (first == 0x7b || first == 0x5b) {
    const close = first + 2; // "}" and "]" follow their partners at the same distance
    if (depth == 0) return false;
    at += 2;
    if (eat(close)) return true;
    do {
      if (first == 0x7b && (peek() != 0x22 || !quoted() || !eat(0x3a))) return false;
      if (!value(depth - 1)) return false;
    } while (eat(0x2c));
    return eat(close);
  }
  if (first == 0x2d || isDigit(first)) return number();
  let word: u64 = 0;
  while (at < end && <u32>load<u16>(at) - 0x61 < 26) {
    word = (word << 8) | load<u16>(at);
    at += 2;
  }
  return word == 0x74727565 || word == 0x66616c7365 || word == 0x6e756c6c; // true, false, null
}

/** Pass over a string; false if it has no end, an escape is wrong, or a surrogate lacks its other half. */
function quoted(): bool {
  at += 2;
  let isHigh = false;
  while (at < end) {
    let code = <i32>load<u16>(at);
    at += 2;
    if (code == 0x22) return !isHigh;
    if (code < 0x20) return false;
    if (code == 0x5c) {
      code = escape();
      if (code < 0) return false;
    }
    if (isHigh != (code >> 10 == 0xdc00 >> 10)) return false;
    isHigh = code >> 10 == 0xd800 >> 10;
  }
  return false;
}

/** The character behind a backslash, passed over; -1 if there is none such. */
function escape(): i32 {
  if (at >= end) return -1;
  const code = <u32>load<u16>(at);
  at += 2;
  switch (code) {
    case 0x22: case 0x5c: case 0x2f: return code;
    case 0x62: return 8;
    case 0x66: return 12;
    case 0x6e: return 10;
    case 0x72: return 13;
    case 0x74: return 9;
    case 0x75: break;
    default: return -1;
  }
  let unit = 0;
  for (let i = 0; i < 4; i++, at += 2) {
    if (at >= end) return -1;
    const digit = <u32>load<u16>(at);
    const letter = (digit | 0x20) - 0x61;
    if (!isDigit(digit) && letter > 5) return -1;
    unit = (unit << 4) | (isDigit(digit) ? digit - 0x30 : letter + 10);
  }
  return unit;
}

/** The string at the reader, unescaped and passed over; it has been checked before. */
function unquoted(): string {
  const start = at + 2;
  quoted();
  const bytes = new ArrayBuffer(<i32>(at - start));
  const out = changetype<usize>(bytes);
  const past = at;
  let to = out;
  for (at = start; at < past - 2; to += 2) {
    const code = load<u16>(at);
    at += 2;
    store<u16>(to, code == 0x5c ? <u16>escape() : code);
  }
  at = past;
  return String.UTF16.decodeUnsafe(out, to - out);
}

function isDigit(code: u32): bool {
  return code - 0x30 < 10;
}

function digits(): bool {
  const start = at;
  while (at < end && isDigit(load<u16>(at))) at += 2;
  return at > start;
}

function number(): bool {
  if (load<u16>(at) == 0x2d) at += 2;
  const zero = at < end && load<u16>(at) == 0x30;
  const start = at;
  if (!digits() || (zero && at > start + 2)) return false;
  if (at < end && load<u16>(at) == 0x2e) {
    at += 2;
    if (!digits()) return false;
  }
  if (at < end && (load<u16>(at) | 0x20) == 0x65) {
    at += 2;
    if (at < end && (load<u16>(at) == 0x2b || load<u16>(at) == 0x2d)) at += 2;
    return digits();
  }
  return true;
}
