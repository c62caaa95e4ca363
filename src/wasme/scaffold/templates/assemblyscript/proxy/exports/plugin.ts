// What every filter needs: its contexts come and go, and it is configured.

import { pluginConfiguration, vmConfiguration } from "../buffers";
import { propertyAt } from "../host";
import { logError } from "../log";
import { find, forget, keep, root } from "../lookup";
import { isUtf8, text } from "../memory";
import { createRoot } from "../register";

export { proxy_on_memory_allocate } from "../memory";

/** The mark by which hosts know the ABI; never called. */
export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_context_create(id: u32, parent: u32): void {
  if (parent == 0) {
    const rootId = propertyAt("plugin_root_id");
    const context = createRoot(rootId ? text(rootId) : "", id);
    if (context) keep(context);
    return;
  }
  const owner = root(parent);
  const context = owner ? owner.createContext(id) : null;
  if (context) keep(context);
}

export function proxy_on_vm_start(id: u32, size: u32): u32 {
  const context = root(id);
  if (!context) {
    logError("this module has no such root id");
    return 0;
  }
  return context.onVmStart(vmConfiguration.text());
}

export function proxy_on_configure(id: u32, size: u32): u32 {
  const context = root(id);
  if (!context) return 0;
  const configuration = pluginConfiguration.bytes();
  if (isUtf8(configuration)) return context.onConfigure(text(configuration));
  logError("the configuration is not UTF-8");
  return 0;
}

export function proxy_on_done(id: u32): u32 {
  const context = find(id);
  return context ? context.onDone() : 1;
}

export function proxy_on_log(id: u32): void {
  const context = find(id);
  if (context) context.onLog();
}

export function proxy_on_delete(id: u32): void {
  const context = find(id);
  if (context) {
    context.onDelete();
    forget(id);
  }
}
