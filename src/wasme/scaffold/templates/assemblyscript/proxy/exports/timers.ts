// For onTick (`setTickPeriod`) and onQueueReady (`registerSharedQueue`).

import { root } from "../lookup";

export function proxy_on_tick(id: u32): void {
  const context = root(id);
  if (context) context.onTick();
}

export function proxy_on_queue_ready(id: u32, queue: u32): void {
  const context = root(id);
  if (context) context.onQueueReady(queue);
}
