// The numbers of the Proxy-Wasm interface, by name.
#pragma once

#include <stdint.h>

namespace proxy {

// How a host call ended.
enum class Status : uint32_t {
  Ok = 0,
  NotFound = 1,
  BadArgument = 2,
  SerializationFailure = 3,
  ParseFailure = 4,
  BadExpression = 5,
  InvalidMemoryAccess = 6,
  Empty = 7,
  CasMismatch = 8,
  ResultMismatch = 9,
  InternalFailure = 10,
  BrokenConnection = 11,
  Unimplemented = 12,
};

// What happens to headers after a callback.
enum class HeadersAction : uint32_t {
  Continue = 0,
  // Wait: neither the headers nor what follows goes on before resumeRequest() or resumeResponse().
  StopIteration = 1,
  // Go on, and end the stream after these headers.
  ContinueAndEndStream = 2,
  StopAllIterationAndBuffer = 3,
  StopAllIterationAndWatermark = 4,
};

// What happens to a piece of a body after a callback.
enum class DataAction : uint32_t {
  Continue = 0,
  // Keep it; the next callback sees all that has been kept. Envoy answers 413 or 500 if it becomes too much.
  StopIterationAndBuffer = 1,
  // Keep it, and let the sender wait when it becomes too much.
  StopIterationAndWatermark = 2,
  // Drop it.
  StopIterationNoBuffer = 3,
};

// What happens to trailers, metadata or bytes of a connection after a callback.
enum class Action : uint32_t { Continue = 0, Pause = 1 };

// Who has closed a connection.
enum class Peer : uint32_t { Unknown = 0, Local = 1, Remote = 2 };

enum class LogLevel : uint32_t { Trace = 0, Debug = 1, Info = 2, Warn = 3, Error = 4, Critical = 5 };

enum class MetricType : uint32_t { Counter = 0, Gauge = 1, Histogram = 2 };

enum class StreamType : uint32_t { Request = 0, Response = 1, Downstream = 2, Upstream = 3 };

enum class MapType : uint32_t {
  RequestHeaders = 0,
  RequestTrailers = 1,
  ResponseHeaders = 2,
  ResponseTrailers = 3,
  GrpcInitialMetadata = 4,
  GrpcTrailingMetadata = 5,
  CallResponseHeaders = 6,
  CallResponseTrailers = 7,
};

enum class BufferType : uint32_t {
  RequestBody = 0,
  ResponseBody = 1,
  DownstreamData = 2,
  UpstreamData = 3,
  CallResponseBody = 4,
  GrpcMessage = 5,
  VmConfiguration = 6,
  PluginConfiguration = 7,
  ForeignArguments = 8,
};

}  // namespace proxy
