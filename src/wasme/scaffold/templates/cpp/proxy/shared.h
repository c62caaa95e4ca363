// What all VMs with the same vm_id share, those of Envoy's other threads among them: values by name, and queues.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "text.h"

namespace proxy {

// A shared value and its version.
struct SharedData {
  String value;
  uint32_t cas = 0;  // for setSharedData: only while it is still this version
};

// NotFound if nothing has been set under that name.
inline Result<SharedData> getSharedData(StringView key) {
  uint32_t cas = 0;
  detail::Out out;
  const Status status = abi::proxy_get_shared_data(key.data(), key.size(), &out.data, &out.size, &cas);
  return {status, {out.take(), cas}};
}

// Set a value. With a `cas` other than 0, only if nobody has set it since it was read; CasMismatch otherwise: read
// again.
inline Status setSharedData(StringView key, StringView value, uint32_t cas = 0) {
  return abi::proxy_set_shared_data(key.data(), key.size(), value.data(), value.size(), cas);
}

// Make a queue, or find it; from now on this plugin's onQueueReady hears of what is put in.
inline Result<uint32_t> registerSharedQueue(StringView name) {
  uint32_t queue = 0;
  const Status status = abi::proxy_register_shared_queue(name.data(), name.size(), &queue);
  return {status, queue};
}

// A queue that was registered by the VM with this id; "" is our own. NotFound if there is none.
inline Result<uint32_t> resolveSharedQueue(StringView vmId, StringView name) {
  uint32_t queue = 0;
  const Status status = abi::proxy_resolve_shared_queue(vmId.data(), vmId.size(), name.data(), name.size(), &queue);
  return {status, queue};
}

inline Status enqueue(uint32_t queue, StringView item) {
  return abi::proxy_enqueue_shared_queue(queue, item.data(), item.size());
}

// The oldest item; Empty if there is none.
inline Result<String> dequeue(uint32_t queue) {
  detail::Out out;
  return out.result(abi::proxy_dequeue_shared_queue(queue, &out.data, &out.size));
}

}  // namespace proxy
