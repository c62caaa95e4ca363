// Logging, and what happens when the filter itself fails.

import { LogLevel, Status, proxy_get_log_level, proxy_log } from "./abi";
import { OUT, address, utf8 } from "./memory";

/** Write a line to Envoy's log (logger "wasm"). */
export function log(level: LogLevel, message: string): void {
  const bytes = utf8(message);
  proxy_log(level, address(bytes), bytes.byteLength);
}

export function logTrace(message: string): void { log(LogLevel.Trace, message); }
export function logDebug(message: string): void { log(LogLevel.Debug, message); }
export function logInfo(message: string): void { log(LogLevel.Info, message); }
export function logWarn(message: string): void { log(LogLevel.Warn, message); }
export function logError(message: string): void { log(LogLevel.Error, message); }
export function logCritical(message: string): void { log(LogLevel.Critical, message); }

/** The level below which Envoy drops lines: whoever builds long messages asks first. */
export function logLevel(): LogLevel {
  return proxy_get_log_level(OUT) == Status.Ok ? load<u32>(OUT) : LogLevel.Info;
}

/** Decimal digits; the library's toString would bring its tables along. */
function decimal(value: u32): string {
  const digit = String.fromCharCode(48 + (value % 10));
  return value > 9 ? decimal(value / 10) + digit : digit;
}

let aborting = false;

/** Where AssemblyScript's own `abort` and failed assertions go (`--use abort=proxy_abort`): to the log, then the end. */
// @ts-ignore: decorator
@global
export function proxy_abort(message: string | null, file: string | null, line: u32, column: u32): void {
  if (!aborting) {
    aborting = true; // the heap may be full: writing the message must not end here again
    const reason = message ? message : "abort";
    logCritical(reason + " at " + (file ? file : "?") + ":" + decimal(line) + ":" + decimal(column));
  }
  unreachable();
}
