// What the worker threads of one VM (same vm_id) share: values by key, and queues.

import {
  Status,
  proxy_dequeue_shared_queue, proxy_enqueue_shared_queue, proxy_get_shared_data, proxy_register_shared_queue,
  proxy_resolve_shared_queue, proxy_set_shared_data,
} from "./abi";
import { OUT, address, clear, taken, utf8 } from "./memory";

/** A shared value, and the number that `setSharedData` takes so as not to overwrite somebody else's change. */
export class SharedData {
  constructor(readonly value: ArrayBuffer, readonly cas: u32) {}
}

/** The value of `key`, or null. */
export function getSharedData(key: string): SharedData | null {
  const k = utf8(key);
  clear();
  if (proxy_get_shared_data(address(k), k.byteLength, OUT, OUT + 4, OUT + 8) != Status.Ok) return null;
  return new SharedData(taken(), load<u32>(OUT, 8));
}

/** Set `key`. With a `cas` other than 0: only if nobody has set it since, else `Status.CasMismatch`. */
export function setSharedData(key: string, value: ArrayBuffer, cas: u32 = 0): Status {
  const k = utf8(key);
  return proxy_set_shared_data(address(k), k.byteLength, address(value), value.byteLength, cas);
}

/** The queue `name` of this VM, made if need be; this plugin's `onQueueReady` hears of it. 0 on failure. */
export function registerSharedQueue(name: string): u32 {
  const n = utf8(name);
  return proxy_register_shared_queue(address(n), n.byteLength, OUT) == Status.Ok ? load<u32>(OUT) : 0;
}

/** The queue `name` of the VM `vmId` ("" = this one), or 0 if nobody has registered it. */
export function resolveSharedQueue(vmId: string, name: string): u32 {
  const v = utf8(vmId);
  const n = utf8(name);
  const status = proxy_resolve_shared_queue(address(v), v.byteLength, address(n), n.byteLength, OUT);
  return status == Status.Ok ? load<u32>(OUT) : 0;
}

/** Put a value at the end of a queue. */
export function enqueue(queue: u32, value: ArrayBuffer): Status {
  return proxy_enqueue_shared_queue(queue, address(value), value.byteLength);
}

/** Take the value at the head of a queue, or null when it is empty. */
export function dequeue(queue: u32): ArrayBuffer | null {
  clear();
  return proxy_dequeue_shared_queue(queue, OUT, OUT + 4) == Status.Ok ? taken() : null;
}
