// Bodies, and what else the host keeps in buffers.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "text.h"

namespace proxy {

// A buffer of the host's. It is there while its callback runs; changes count for what goes on afterwards.
class Buffer {
 public:
  constexpr explicit Buffer(BufferType type) : type_(type) {}

  // From `start` on, `length` bytes or what there is of them; NotFound if there is no such buffer now.
  Result<String> get(size_t start = 0, size_t length = 0x7fffffff) const {
    detail::Out out;
    return out.result(abi::proxy_get_buffer_bytes(type_, start, length, &out.data, &out.size));
  }

  // How many bytes it holds.
  Result<size_t> size() const {
    size_t size = 0;
    uint32_t flags = 0;
    const Status status = abi::proxy_get_buffer_status(type_, &size, &flags);
    return {status, size};
  }

  // Put other bytes in the place of all that it holds.
  Status set(StringView bytes) const { return replace(0, 0x7fffffff, bytes); }

  // Put other bytes in the place of `length` from `start` on.
  Status replace(size_t start, size_t length, StringView bytes) const {
    return abi::proxy_set_buffer_bytes(type_, start, length, bytes.data(), bytes.size());
  }

  Status prepend(StringView bytes) const { return replace(0, 0, bytes); }
  Status append(StringView bytes) const { return replace(0x7fffffff, 0, bytes); }

 private:
  BufferType type_;
};

inline constexpr Buffer requestBody{BufferType::RequestBody};
inline constexpr Buffer responseBody{BufferType::ResponseBody};
// In the callbacks of a TcpContext.
inline constexpr Buffer downstreamData{BufferType::DownstreamData};
inline constexpr Buffer upstreamData{BufferType::UpstreamData};
// In onHttpCallResponse.
inline constexpr Buffer callResponseBody{BufferType::CallResponseBody};
// In onGrpcMessage.
inline constexpr Buffer grpcMessage{BufferType::GrpcMessage};
// In onForeignFunction.
inline constexpr Buffer foreignFunctionArguments{BufferType::ForeignArguments};
#if PROXY_ABI_NUMBER >= 20
// onVmStart and onConfigure are given these.
inline constexpr Buffer vmConfiguration{BufferType::VmConfiguration};
inline constexpr Buffer pluginConfiguration{BufferType::PluginConfiguration};
#endif

}  // namespace proxy
