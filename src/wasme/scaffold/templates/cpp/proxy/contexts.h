// The classes a filter extends.
//
// A filter's class redefines the callbacks it wants, with exactly the parameters they have here, and public. They are
// not virtual: PROXY_PLUGIN sees at compile time which ones a class has of its own, exports those, and calls them
// directly. So there is no `override` to write. A callback with other parameters is an error all the same, and so is a
// stream without any; one misspelt among others is a method like any other (`wasme inspect` lists what is exported).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "headers.h"
#include "table.h"
#include "text.h"

namespace proxy {

class RootContext;

namespace detail {

template <class... Plugins>
class Module;

// What a context that is being made will be: its constructor looks here, so that none needs to be handed through.
inline uint32_t next_id;
inline RootContext* next_root;  // null: it is one itself

inline Table contexts;

}  // namespace detail

// What root and stream contexts have in common.
class Context : public detail::Row {
 public:
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // The stream or the plugin ends. Return false to stay until done() is called.
  bool onDone() { return true; }
  // The stream has ended: the last chance to read its headers and properties, as access logs do.
  void onLog() {}
  // The context is about to be deleted.
  void onDelete() {}

  // The answer to httpCall: callResponseHeaders, callResponseBody. `headers` is 0 when the call failed or timed out.
  void onHttpCallResponse(uint32_t /*token*/, uint32_t /*headers*/, size_t /*bodySize*/, uint32_t /*trailers*/) {}

  // The peer of a gRPC stream has sent its first metadata: grpcInitialMetadata.
  void onGrpcInitialMetadata(uint32_t /*token*/, uint32_t /*count*/) {}
  // A message has arrived: grpcMessage.
  void onGrpcMessage(uint32_t /*token*/, size_t /*size*/) {}
  // The peer has sent its last metadata: grpcTrailingMetadata.
  void onGrpcTrailingMetadata(uint32_t /*token*/, uint32_t /*count*/) {}
  // The call or stream is over; grpcStatusMessage() has the words.
  void onGrpcClose(uint32_t /*token*/, uint32_t /*status*/) {}

  // The host's number for it.
  uint32_t id() const { return number; }
  // Which of the module's classes it has.
  uint8_t kind() const { return kind_; }

  // Make host calls act on this context. Its own callbacks need not; onTick does, to change a stream that waits.
  Status activate() const { return abi::proxy_set_effective_context(id()); }

  // Finish what onDone held up.
  Status done() const {
    activate();
    return abi::proxy_done();
  }

  // Send an HTTP request to a cluster of Envoy's configuration; `headers` must have :method, :path and :authority. This
  // context's onHttpCallResponse gets the answer, unless the stream has ended by then. The token tells calls apart.
  // BadArgument: the cluster is unknown, or a header is missing.
  Result<uint32_t> httpCall(StringView cluster, const Headers& headers, uint32_t milliseconds, StringView body = {},
                            const Headers& trailers = {});

  // Call a unary gRPC method. `service` is a serialised envoy.config.core.v3.GrpcService, or a cluster's name.
  // onGrpcMessage gets the answer; then comes onGrpcClose, also after a failure.
  Result<uint32_t> grpcCall(StringView service, StringView name, StringView method, StringView message,
                            uint32_t milliseconds, const Headers& metadata = {});

  // Open a gRPC stream; messages follow by grpcSend (calls.h).
  Result<uint32_t> grpcStream(StringView service, StringView name, StringView method, const Headers& metadata = {});

 protected:
  Context() : root_(detail::next_root) { number = detail::next_id; }

  RootContext* root_;

 private:
  template <class... Plugins>
  friend class detail::Module;
  uint8_t kind_;
};

// One plugin: its configuration, its timer, its queues. A configuration may be kept as a String.
class RootContext : public Context {
 public:
  RootContext() { root_ = this; }

  // The VM has started with this configuration (vm_config.configuration). Return false to refuse.
  bool onVmStart(StringView /*configuration*/) { return true; }
  // The plugin's configuration. Return false to refuse it, after a logError that says why.
  bool onConfigure(StringView /*configuration*/) { return true; }
  // Whether a configuration would be accepted; few hosts ask.
  bool onValidateConfiguration(StringView /*configuration*/) { return true; }
  // The timer of setTickPeriod.
  void onTick() {}
  // Something has been put into a queue that this plugin registered.
  void onQueueReady(uint32_t /*queue*/) {}
  // The host calls a function by number, with foreignFunctionArguments.
  void onForeignFunction(uint32_t /*function*/, size_t /*size*/) {}

  // Call onTick every so many milliseconds; 0 ends it.
  Status setTickPeriod(uint32_t milliseconds) const {
    activate();
    return abi::proxy_set_tick_period_milliseconds(milliseconds);
  }
};

// The callbacks of an HttpContext, whatever its root.
class HttpStream : public Context {
 public:
  // `count` headers have arrived: requestHeaders. With `endOfStream` no body follows.
  HeadersAction onRequestHeaders(uint32_t /*count*/, bool /*endOfStream*/) { return HeadersAction::Continue; }
  // `size` bytes can be read from requestBody.
  DataAction onRequestBody(size_t /*size*/, bool /*endOfStream*/) { return DataAction::Continue; }
  Action onRequestTrailers(uint32_t /*count*/) { return Action::Continue; }
  // HTTP/2 METADATA frames.
  Action onRequestMetadata(uint32_t /*count*/) { return Action::Continue; }

  HeadersAction onResponseHeaders(uint32_t /*count*/, bool /*endOfStream*/) { return HeadersAction::Continue; }
  DataAction onResponseBody(size_t /*size*/, bool /*endOfStream*/) { return DataAction::Continue; }
  Action onResponseTrailers(uint32_t /*count*/) { return Action::Continue; }
  Action onResponseMetadata(uint32_t /*count*/) { return Action::Continue; }

  // Let a request or a response that waits go on, once the running callback has returned.
#if PROXY_ABI_NUMBER >= 20
  Status resumeRequest() const { return resume(StreamType::Request); }
  Status resumeResponse() const { return resume(StreamType::Response); }

  // Reset the request or the response.
  Status closeRequest() const { return close(StreamType::Request); }
  Status closeResponse() const { return close(StreamType::Response); }
#else
  Status resumeRequest() const {
    activate();
    return abi::proxy_continue_request();
  }
  Status resumeResponse() const {
    activate();
    return abi::proxy_continue_response();
  }
#endif

  // Answer the request from here; it goes no further. The callback returns HeadersAction::StopIteration (or its like).
  // `details` stands in Envoy's access log; `grpcStatus` is for gRPC requests, -1 for none.
  Status respond(uint32_t status, StringView body = {}, const Headers& headers = {}, StringView details = {},
                 int32_t grpcStatus = -1) const {
    activate();
    const StringView encoded = headers.encoded();
    return abi::proxy_send_local_response(status, details.data(), details.size(), body.data(), body.size(),
                                          encoded.data(), encoded.size(), grpcStatus);
  }

 protected:
  HttpStream() = default;

 private:
#if PROXY_ABI_NUMBER >= 20
  Status resume(StreamType stream) const {
    activate();
    return abi::proxy_continue_stream(stream);
  }
  Status close(StreamType stream) const {
    activate();
    return abi::proxy_close_stream(stream);
  }
#endif
};

// The callbacks of a TcpContext, whatever its root.
class TcpStream : public Context {
 public:
  Action onNewConnection() { return Action::Continue; }
  // `size` bytes from the client can be read from downstreamData.
  Action onDownstreamData(size_t /*size*/, bool /*endOfStream*/) { return Action::Continue; }
  // `size` bytes from the server can be read from upstreamData.
  Action onUpstreamData(size_t /*size*/, bool /*endOfStream*/) { return Action::Continue; }
  void onDownstreamClose(Peer /*peer*/) {}
  void onUpstreamClose(Peer /*peer*/) {}

#if PROXY_ABI_NUMBER >= 20
  // Let bytes that wait go on.
  Status resumeDownstream() const { return resume(StreamType::Downstream); }
  Status resumeUpstream() const { return resume(StreamType::Upstream); }

  // Close the client's or the server's side.
  Status closeDownstream() const { return close(StreamType::Downstream); }
  Status closeUpstream() const { return close(StreamType::Upstream); }
#endif

 protected:
  TcpStream() = default;

 private:
#if PROXY_ABI_NUMBER >= 20
  Status resume(StreamType stream) const {
    activate();
    return abi::proxy_continue_stream(stream);
  }
  Status close(StreamType stream) const {
    activate();
    return abi::proxy_close_stream(stream);
  }
#endif
};

// One HTTP request and its response. `Root` is the filter's RootContext, so that root() has its type.
template <class Root = RootContext>
class HttpContext : public HttpStream {
 public:
  Root& root() const { return static_cast<Root&>(*root_); }
};

// One TCP connection.
template <class Root = RootContext>
class TcpContext : public TcpStream {
 public:
  Root& root() const { return static_cast<Root&>(*root_); }
};

}  // namespace proxy
