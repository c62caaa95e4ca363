// Call-outs: HTTP and gRPC requests of the filter's own (Context::httpCall, grpcCall, grpcStream).
//
// The host tells the root context of an answer, by the call's token; the SDK knows whose call it was, and lets host
// calls act on that context while its callback runs. If the stream has ended in the meantime, the answer is dropped.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "contexts.h"
#include "text.h"

namespace proxy {

namespace detail {

// Whose call it is.
struct Call : Row {
  Call(uint32_t token, uint32_t context) : context(context) { number = token; }
  uint32_t context;
};
// Some hosts count the two kinds of calls separately.
inline Table http_calls;
inline Table grpc_calls;

inline Result<uint32_t> began(Table& calls, Status status, uint32_t token, const Context& context) {
  if (status != Status::Ok) return status;
  calls.add(new Call(token, context.id()));
  return token;
}

inline void forget(Table& calls, Call* call) {
  calls.remove(call);
  delete call;
}

// The context that an answer is for, activated; 0, which none has, if it is gone. With the last answer the call is
// forgotten.
inline uint32_t caller(Table& calls, uint32_t token, bool last) {
  auto* call = static_cast<Call*>(calls.find(token));
  if (!call) return 0;
  const uint32_t id = call->context;
  if (last) forget(calls, call);
  const auto* context = static_cast<Context*>(contexts.find(id));
  if (!context) return 0;
  context->activate();
  return id;
}

}  // namespace detail

inline Result<uint32_t> Context::httpCall(StringView cluster, const Headers& headers, uint32_t milliseconds,
                                          StringView body, const Headers& trailers) {
  uint32_t token = 0;
  const StringView first = headers.encoded(), last = trailers.encoded();
  const Status status =
      abi::proxy_http_call(cluster.data(), cluster.size(), first.data(), first.size(), body.data(), body.size(),
                           last.data(), last.size(), milliseconds, &token);
  return detail::began(detail::http_calls, status, token, *this);
}

inline Result<uint32_t> Context::grpcCall(StringView service, StringView name, StringView method, StringView message,
                                          uint32_t milliseconds, const Headers& metadata) {
  uint32_t token = 0;
  const StringView first = metadata.encoded();
  const Status status = abi::proxy_grpc_call(service.data(), service.size(), name.data(), name.size(), method.data(),
                                             method.size(), first.data(), first.size(), message.data(), message.size(),
                                             milliseconds, &token);
  return detail::began(detail::grpc_calls, status, token, *this);
}

inline Result<uint32_t> Context::grpcStream(StringView service, StringView name, StringView method,
                                            const Headers& metadata) {
  uint32_t token = 0;
  const StringView first = metadata.encoded();
  const Status status = abi::proxy_grpc_stream(service.data(), service.size(), name.data(), name.size(), method.data(),
                                               method.size(), first.data(), first.size(), &token);
  return detail::began(detail::grpc_calls, status, token, *this);
}

// Send a message on a stream; with `endOfStream` it is the last.
inline Status grpcSend(uint32_t token, StringView message, bool endOfStream = false) {
  return abi::proxy_grpc_send(token, message.data(), message.size(), endOfStream);
}

// Break a call or stream off: nothing more is heard of it.
inline Status grpcCancel(uint32_t token) {
  auto* call = static_cast<detail::Call*>(detail::grpc_calls.find(token));
  if (call) detail::forget(detail::grpc_calls, call);
  return abi::proxy_grpc_cancel(token);
}

// Close our side of a stream; the peer's answers may still come, until onGrpcClose.
inline Status grpcClose(uint32_t token) { return abi::proxy_grpc_close(token); }

// The message beside the status, in onGrpcClose.
inline Result<String> grpcStatusMessage() {
  detail::Out out;
  uint32_t code = 0;
  return out.result(abi::proxy_get_status(&code, &out.data, &out.size));
}

}  // namespace proxy
