// The callbacks as the host sees them: each finds its context and calls the method of the class it has.
//
// They are templates of the module's plugins (plugin.h): a template is compiled, and exported, only where its address
// is taken, which PROXY_PLUGIN does for the callbacks that a filter's classes have. A number that no context has is
// left alone: traffic passes.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "calls.h"
#include "contexts.h"

namespace proxy::detail {

// The configuration that a callback is about, while it runs.
class Configuration {
 public:
  PROXY_INLINE Configuration([[maybe_unused]] BufferType type, [[maybe_unused]] size_t size) {
#if PROXY_ABI_NUMBER >= 20
    abi::proxy_get_buffer_bytes(type, 0, size, &out_.data, &out_.size);
#else
    abi::proxy_get_configuration(&out_.data, &out_.size);
#endif
  }
  ~Configuration() { memory::release(out_.data); }

  operator StringView() const { return {out_.data, out_.size}; }

 private:
  Out out_;
};

}  // namespace proxy::detail

namespace proxy::exports {

// The life of contexts. (They are made in plugin.h.)

template <class Module>
PROXY_EXPORT("proxy_on_done")
bool done(uint32_t id) {
  auto result = true;
  Module::template with<Context>(id, [&](auto& it) PROXY_INLINE { result = it.onDone(); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_log")
void log(uint32_t id) {
  Module::template with<Context>(id, [&](auto& it) PROXY_INLINE { it.onLog(); });
}

template <class Module>
PROXY_EXPORT("proxy_on_delete")
void deleted(uint32_t id) {
  Module::template with<Context>(id, [&](auto& it) PROXY_INLINE {
    it.onDelete();
    detail::contexts.remove(&it);
    delete &it;
  });
}

// Root contexts.

template <class Module>
PROXY_EXPORT("proxy_on_vm_start")
bool vmStart(uint32_t id, size_t size) {
  const detail::Configuration configuration(BufferType::VmConfiguration, size);
  auto result = true;
  Module::template with<RootContext>(id, [&](auto& it) PROXY_INLINE { result = it.onVmStart(configuration); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_configure")
bool configure(uint32_t id, size_t size) {
  const detail::Configuration configuration(BufferType::PluginConfiguration, size);
  auto result = false;  // where there is no such plugin
  Module::template with<RootContext>(id, [&](auto& it) PROXY_INLINE { result = it.onConfigure(configuration); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_validate_configuration")
bool validateConfiguration(uint32_t id, size_t size) {
  const detail::Configuration configuration(BufferType::PluginConfiguration, size);
  auto result = true;
  Module::template with<RootContext>(id, [&](auto& it) PROXY_INLINE {
    result = it.onValidateConfiguration(configuration);
  });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_tick")
void tick(uint32_t id) {
  Module::template with<RootContext>(id, [&](auto& it) PROXY_INLINE { it.onTick(); });
}

template <class Module>
PROXY_EXPORT("proxy_on_queue_ready")
void queueReady(uint32_t id, uint32_t queue) {
  Module::template with<RootContext>(id, [&](auto& it) PROXY_INLINE { it.onQueueReady(queue); });
}

#if PROXY_ABI_NUMBER >= 20
template <class Module>
PROXY_EXPORT("proxy_on_foreign_function")
void foreignFunction(uint32_t id, uint32_t function, size_t size) {
  Module::template with<RootContext>(id, [&](auto& it) PROXY_INLINE { it.onForeignFunction(function, size); });
}
#endif

// HTTP.

#if PROXY_ABI_NUMBER >= 20
template <class Module>
PROXY_EXPORT("proxy_on_request_headers")
HeadersAction requestHeaders(uint32_t id, uint32_t count, uint32_t end_of_stream) {
  auto result = HeadersAction::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE {
    result = it.onRequestHeaders(count, end_of_stream);
  });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_response_headers")
HeadersAction responseHeaders(uint32_t id, uint32_t count, uint32_t end_of_stream) {
  auto result = HeadersAction::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE {
    result = it.onResponseHeaders(count, end_of_stream);
  });
  return result;
}
#else  // 0.1.0 does not tell whether a body follows
template <class Module>
PROXY_EXPORT("proxy_on_request_headers")
HeadersAction requestHeaders(uint32_t id, uint32_t count) {
  auto result = HeadersAction::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE { result = it.onRequestHeaders(count, false); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_response_headers")
HeadersAction responseHeaders(uint32_t id, uint32_t count) {
  auto result = HeadersAction::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE { result = it.onResponseHeaders(count, false); });
  return result;
}
#endif

template <class Module>
PROXY_EXPORT("proxy_on_request_body")
DataAction requestBody(uint32_t id, size_t size, uint32_t end_of_stream) {
  auto result = DataAction::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE { result = it.onRequestBody(size, end_of_stream); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_request_trailers")
Action requestTrailers(uint32_t id, uint32_t count) {
  auto result = Action::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE { result = it.onRequestTrailers(count); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_request_metadata")
Action requestMetadata(uint32_t id, uint32_t count) {
  auto result = Action::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE { result = it.onRequestMetadata(count); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_response_body")
DataAction responseBody(uint32_t id, size_t size, uint32_t end_of_stream) {
  auto result = DataAction::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE {
    result = it.onResponseBody(size, end_of_stream);
  });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_response_trailers")
Action responseTrailers(uint32_t id, uint32_t count) {
  auto result = Action::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE { result = it.onResponseTrailers(count); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_response_metadata")
Action responseMetadata(uint32_t id, uint32_t count) {
  auto result = Action::Continue;
  Module::template with<HttpStream>(id, [&](auto& it) PROXY_INLINE { result = it.onResponseMetadata(count); });
  return result;
}

// TCP.

template <class Module>
PROXY_EXPORT("proxy_on_new_connection")
Action newConnection(uint32_t id) {
  auto result = Action::Continue;
  Module::template with<TcpStream>(id, [&](auto& it) PROXY_INLINE { result = it.onNewConnection(); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_downstream_data")
Action downstreamData(uint32_t id, size_t size, uint32_t end_of_stream) {
  auto result = Action::Continue;
  Module::template with<TcpStream>(id, [&](auto& it) PROXY_INLINE {
    result = it.onDownstreamData(size, end_of_stream);
  });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_upstream_data")
Action upstreamData(uint32_t id, size_t size, uint32_t end_of_stream) {
  auto result = Action::Continue;
  Module::template with<TcpStream>(id, [&](auto& it) PROXY_INLINE { result = it.onUpstreamData(size, end_of_stream); });
  return result;
}

template <class Module>
PROXY_EXPORT("proxy_on_downstream_connection_close")
void downstreamClose(uint32_t id, Peer peer) {
  Module::template with<TcpStream>(id, [&](auto& it) PROXY_INLINE { it.onDownstreamClose(peer); });
}

template <class Module>
PROXY_EXPORT("proxy_on_upstream_connection_close")
void upstreamClose(uint32_t id, Peer peer) {
  Module::template with<TcpStream>(id, [&](auto& it) PROXY_INLINE { it.onUpstreamClose(peer); });
}

// Answers. The host names the root context; the call's token tells whom they are for.

template <class Module>
PROXY_EXPORT("proxy_on_http_call_response")
void httpCallResponse(uint32_t, uint32_t token, uint32_t headers, size_t body_size, uint32_t trailers) {
  const uint32_t id = detail::caller(detail::http_calls, token, true);
  Module::template with<Context>(id, [&](auto& it) PROXY_INLINE {
    it.onHttpCallResponse(token, headers, body_size, trailers);
  });
}

template <class Module>
PROXY_EXPORT("proxy_on_grpc_receive_initial_metadata")
void grpcInitialMetadata(uint32_t, uint32_t token, uint32_t count) {
  const uint32_t id = detail::caller(detail::grpc_calls, token, false);
  Module::template with<Context>(id, [&](auto& it) PROXY_INLINE { it.onGrpcInitialMetadata(token, count); });
}

template <class Module>
PROXY_EXPORT("proxy_on_grpc_receive")
void grpcReceive(uint32_t, uint32_t token, size_t size) {
  const uint32_t id = detail::caller(detail::grpc_calls, token, false);
  Module::template with<Context>(id, [&](auto& it) PROXY_INLINE { it.onGrpcMessage(token, size); });
}

template <class Module>
PROXY_EXPORT("proxy_on_grpc_receive_trailing_metadata")
void grpcTrailingMetadata(uint32_t, uint32_t token, uint32_t count) {
  const uint32_t id = detail::caller(detail::grpc_calls, token, false);
  Module::template with<Context>(id, [&](auto& it) PROXY_INLINE { it.onGrpcTrailingMetadata(token, count); });
}

template <class Module>
PROXY_EXPORT("proxy_on_grpc_close")
void grpcClose(uint32_t, uint32_t token, uint32_t status) {
  const uint32_t id = detail::caller(detail::grpc_calls, token, true);
  Module::template with<Context>(id, [&](auto& it) PROXY_INLINE { it.onGrpcClose(token, status); });
}

}  // namespace proxy::exports
