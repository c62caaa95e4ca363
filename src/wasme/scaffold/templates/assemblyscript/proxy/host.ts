// What else the host knows and does: properties, time, functions of its own.

import {
  Status,
  proxy_call_foreign_function, proxy_get_current_time_nanoseconds, proxy_get_property, proxy_set_property,
} from "./abi";
import { OUT, address, clear, taken, text, utf8 } from "./memory";

/**
 * A property by its path, e.g. ["request", "path"] or ["source", "address"]; null if the host has none.
 * The list is in Envoy's documentation under "attributes".
 */
export function getProperty(path: Array<string>): ArrayBuffer | null {
  return propertyAt(path.join("\0"));
}

/** As `getProperty`, of a path whose steps are joined by zero characters already. */
export function propertyAt(path: string): ArrayBuffer | null {
  const p = utf8(path);
  clear();
  return proxy_get_property(address(p), p.byteLength, OUT, OUT + 4) == Status.Ok ? taken() : null;
}

/** A property that is text. */
export function getPropertyText(path: Array<string>): string | null {
  const value = getProperty(path);
  return value ? text(value) : null;
}

/** A property that is a number, e.g. ["response", "code"]; a time or duration in nanoseconds. 0 if there is none. */
export function getPropertyInteger(path: Array<string>): i64 {
  const value = getProperty(path);
  return value && value.byteLength == 8 ? load<i64>(address(value)) : 0;
}

/** A property that is a floating-point number; 0 if there is none. */
export function getPropertyFloat(path: Array<string>): f64 {
  const value = getProperty(path);
  return value && value.byteLength == 8 ? load<f64>(address(value)) : 0;
}

/** A property that is true or false; false if there is none. */
export function getPropertyBool(path: Array<string>): bool {
  const value = getProperty(path);
  return value != null && value.byteLength == 1 && load<u8>(address(value)) != 0;
}

/** Keep a value with the stream: read again by the same path, and by access logs as %FILTER_STATE(wasm.NAME)%. */
export function setProperty(path: Array<string>, value: ArrayBuffer): Status {
  const p = utf8(path.join("\0"));
  return proxy_set_property(address(p), p.byteLength, address(value), value.byteLength);
}

/** Nanoseconds since 1970. */
export function currentTime(): u64 {
  return proxy_get_current_time_nanoseconds(OUT) == Status.Ok ? load<u64>(OUT) : 0;
}

/** Call a function that this host offers by name; null if it failed or there is none. */
export function callForeignFunction(name: string, args: ArrayBuffer): ArrayBuffer | null {
  const n = utf8(name);
  clear();
  const status = proxy_call_foreign_function(address(n), n.byteLength, address(args), args.byteLength, OUT, OUT + 4);
  return status == Status.Ok ? taken() : null;
}
