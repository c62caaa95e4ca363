// Buffers: bodies, TCP data, call-out answers.

import { BufferType, Status, proxy_get_buffer_bytes, proxy_get_buffer_status, proxy_set_buffer_bytes } from "./abi";
import { OUT, address, clear, taken, text as decoded, utf8 } from "./memory";

/**
 * A buffer that the host holds for the effective context. A body is there only inside its callback, and holds what
 * has arrived so far; `DataAction.StopIterationAndBuffer` until `endOfStream` gathers the whole.
 * Whoever changes a body's length sets or removes `content-length` in the headers callback, before the body is sent.
 */
export class Buffer {
  constructor(private type: BufferType) {}

  /** At most `max` bytes from `start` on; empty where there is nothing. */
  bytes(start: u32 = 0, max: u32 = 0x7fffffff): ArrayBuffer {
    clear();
    if (proxy_get_buffer_bytes(this.type, start, max, OUT, OUT + 4) != Status.Ok) clear();
    return taken();
  }

  /** As `bytes`, decoded from UTF-8. */
  text(start: u32 = 0, max: u32 = 0x7fffffff): string {
    return decoded(this.bytes(start, max));
  }

  /** The length in bytes. */
  size(): u32 {
    return proxy_get_buffer_status(this.type, OUT, OUT + 4) == Status.Ok ? load<u32>(OUT) : 0;
  }

  /** Put `value` in the place of `size` bytes from `start` on; by default of everything. */
  replace(value: ArrayBuffer, start: u32 = 0, size: u32 = 0x7fffffff): Status {
    return proxy_set_buffer_bytes(this.type, start, size, address(value), value.byteLength);
  }

  /** As `replace`, everything, with text. */
  setText(value: string): Status {
    return this.replace(utf8(value));
  }

  /** Put `value` before everything. */
  prepend(value: ArrayBuffer): Status {
    return this.replace(value, 0, 0);
  }

  /** Put `value` behind everything. */
  append(value: ArrayBuffer): Status {
    return this.replace(value, 0x7fffffff, 0);
  }
}

// @ts-ignore: decorator
@lazy export const requestBody = new Buffer(BufferType.RequestBody);
// @ts-ignore: decorator
@lazy export const responseBody = new Buffer(BufferType.ResponseBody);
// @ts-ignore: decorator
@lazy export const downstreamData = new Buffer(BufferType.DownstreamData);
// @ts-ignore: decorator
@lazy export const upstreamData = new Buffer(BufferType.UpstreamData);
/** In `onHttpCallResponse` only. */
// @ts-ignore: decorator
@lazy export const callResponseBody = new Buffer(BufferType.CallResponseBody);
/** In `onGrpcMessage` only. */
// @ts-ignore: decorator
@lazy export const grpcMessage = new Buffer(BufferType.GrpcMessage);
/** In `onVmStart` only. */
// @ts-ignore: decorator
@lazy export const vmConfiguration = new Buffer(BufferType.VmConfiguration);
/** In `onConfigure` only. */
// @ts-ignore: decorator
@lazy export const pluginConfiguration = new Buffer(BufferType.PluginConfiguration);
/** In `onForeignFunction` only. */
// @ts-ignore: decorator
@lazy export const foreignFunctionArguments = new Buffer(BufferType.ForeignFunctionArguments);
