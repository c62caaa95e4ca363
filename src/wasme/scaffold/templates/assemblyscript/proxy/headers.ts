// Headers: a list of pairs of our own (`Headers`), and the maps that the host holds for the stream at hand (`HeaderMap`).

import {
  MapType, Status,
  proxy_add_header_map_value, proxy_get_header_map_pairs, proxy_get_header_map_size, proxy_get_header_map_value,
  proxy_remove_header_map_value, proxy_replace_header_map_value, proxy_set_header_map_pairs,
} from "./abi";
import { OUT, address, clear, taken, takenText, utf8 } from "./memory";

/** A list of header names and values, in order; a name may stand in it more than once. */
export class Headers {
  private flat: Array<string> = [];

  /** Append a pair; gives the list itself, so calls can be chained. */
  add(name: string, value: string): Headers {
    this.flat.push(name);
    this.flat.push(value);
    return this;
  }

  /** How many pairs. */
  get length(): i32 {
    return this.flat.length >> 1;
  }

  /** The name of pair `index`. */
  name(index: i32): string {
    return this.flat[index << 1];
  }

  /** The value of pair `index`. */
  value(index: i32): string {
    return this.flat[(index << 1) + 1];
  }

  /** The first value with this name (as the host writes it: lower case), or null. */
  get(name: string): string | null {
    for (let i = 0; i < this.flat.length; i += 2) {
      if (this.flat[i] == name) return this.flat[i + 1];
    }
    return null;
  }

  /** The ABI's form: count, the lengths of all names and values, then each of them with a zero byte behind it. */
  encode(): ArrayBuffer {
    const flat = this.flat;
    let size = 4;
    for (let i = 0; i < flat.length; i++) size += 5 + String.UTF8.byteLength(flat[i]);
    const bytes = new ArrayBuffer(size);
    let lengths = address(bytes);
    store<u32>(lengths, flat.length >> 1);
    lengths += 4;
    let data = lengths + (flat.length << 2);
    for (let i = 0; i < flat.length; i++) {
      const item = flat[i];
      const n = <u32>String.UTF8.encodeUnsafe(changetype<usize>(item), item.length, data);
      store<u32>(lengths, n);
      lengths += 4;
      data += n + 1;
    }
    return bytes;
  }

  /** The opposite of `encode`; what does not fit its own lengths is left out. */
  static decode(bytes: ArrayBuffer): Headers {
    const headers = new Headers();
    const size = <u32>bytes.byteLength;
    if (size < 4) return headers;
    const start = address(bytes);
    const count = load<u32>(start);
    if (count > (size - 4) / 10) return headers;
    let at = 4 + count * 8;
    for (let i: u32 = 0; i < count * 2; i++) {
      const n = load<u32>(start + 4 + i * 4);
      if (n >= size - at) break;
      headers.flat.push(String.UTF8.decodeUnsafe(start + at, n));
      at += n + 1;
    }
    if (headers.flat.length & 1) headers.flat.pop();
    return headers;
  }
}

/**
 * A header map that the host holds for the effective context (the stream whose callback is running).
 * Names are compared without regard to case. Outside the phase in which a map exists, reading finds nothing and
 * writing gives `Status.BadArgument`.
 */
export class HeaderMap {
  constructor(private type: MapType) {}

  /** The first value, or null where the header is missing. */
  get(name: string): string | null {
    return this.find(name) ? takenText() : null;
  }

  /** As `get`, as bytes: a header's value need not be UTF-8. */
  getBytes(name: string): ArrayBuffer | null {
    return this.find(name) ? taken() : null;
  }

  /** Whether the header is there. */
  has(name: string): bool {
    return this.getBytes(name) !== null;
  }

  /** Add a value, beside those that are there. */
  add(name: string, value: string): Status {
    const k = utf8(name);
    const v = utf8(value);
    return proxy_add_header_map_value(this.type, address(k), k.byteLength, address(v), v.byteLength);
  }

  /** Make this the only value. */
  set(name: string, value: string): Status {
    return this.setBytes(name, utf8(value));
  }

  /** As `set`, as bytes. */
  setBytes(name: string, value: ArrayBuffer): Status {
    const k = utf8(name);
    return proxy_replace_header_map_value(this.type, address(k), k.byteLength, address(value), value.byteLength);
  }

  /** Remove the header; it is no error when it is missing. */
  remove(name: string): Status {
    const k = utf8(name);
    return proxy_remove_header_map_value(this.type, address(k), k.byteLength);
  }

  /** All pairs. */
  all(): Headers {
    clear();
    if (proxy_get_header_map_pairs(this.type, OUT, OUT + 4) != Status.Ok) return new Headers();
    return Headers.decode(taken());
  }

  /** Replace the whole map. Envoy finds no route for a request without :path, :authority and x-forwarded-proto. */
  setAll(headers: Headers): Status {
    const bytes = headers.encode();
    return proxy_set_header_map_pairs(this.type, address(bytes), bytes.byteLength);
  }

  /** The size of all names and values, in bytes. */
  byteSize(): u32 {
    return proxy_get_header_map_size(this.type, OUT) == Status.Ok ? load<u32>(OUT) : 0;
  }

  private find(name: string): bool {
    const k = utf8(name);
    clear();
    return proxy_get_header_map_value(this.type, address(k), k.byteLength, OUT, OUT + 4) == Status.Ok;
  }
}

// @ts-ignore: decorator
@lazy export const requestHeaders = new HeaderMap(MapType.RequestHeaders);
// @ts-ignore: decorator
@lazy export const requestTrailers = new HeaderMap(MapType.RequestTrailers);
// @ts-ignore: decorator
@lazy export const responseHeaders = new HeaderMap(MapType.ResponseHeaders);
// @ts-ignore: decorator
@lazy export const responseTrailers = new HeaderMap(MapType.ResponseTrailers);
/** In `onHttpCallResponse` only. */
// @ts-ignore: decorator
@lazy export const callResponseHeaders = new HeaderMap(MapType.CallResponseHeaders);
/** In `onHttpCallResponse` only. */
// @ts-ignore: decorator
@lazy export const callResponseTrailers = new HeaderMap(MapType.CallResponseTrailers);
/** In `onGrpcInitialMetadata` only. */
// @ts-ignore: decorator
@lazy export const grpcInitialMetadata = new HeaderMap(MapType.GrpcInitialMetadata);
/** In `onGrpcTrailingMetadata` only. */
// @ts-ignore: decorator
@lazy export const grpcTrailingMetadata = new HeaderMap(MapType.GrpcTrailingMetadata);
