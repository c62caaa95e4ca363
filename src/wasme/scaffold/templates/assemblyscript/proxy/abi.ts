// The Proxy-Wasm ABI 0.2.1 as Envoy provides it: every constant and every function of the module "env".
// Nothing here allocates or interprets; a function that a filter never calls is not imported.
// In the comments, (p, n) is the address and length of an input; (P, N) are the addresses of two 32-bit words
// that receive the address and length of an output, whose memory the host asked `proxy_on_memory_allocate` for.

/** What a host function answers. */
export enum Status {
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
}

/** How loud a log line is. */
export enum LogLevel {
  Trace = 0,
  Debug = 1,
  Info = 2,
  Warn = 3,
  Error = 4,
  Critical = 5,
}

/** What a filter does with headers. */
export enum HeadersAction {
  /** Go on to the next filter. */
  Continue = 0,
  /** Hold the stream until resumeRequest() or resumeResponse(). */
  StopIteration = 1,
  /** Go on, and end the stream here: what body there is, is dropped. */
  ContinueAndEndStream = 2,
  /** Hold the stream and keep the body that arrives. */
  StopAllIterationAndBuffer = 3,
  /** Hold the stream and slow the sender down when the buffers are full. */
  StopAllIterationAndWatermark = 4,
}

/** What a filter does with a piece of the body. */
export enum DataAction {
  /** Send it on. */
  Continue = 0,
  /** Keep it; the next call sees it again with what has arrived since. */
  StopIterationAndBuffer = 1,
  /** Keep it, and slow the sender down when the buffers are full. */
  StopIterationAndWatermark = 2,
  /** Hold the stream without keeping this piece. */
  StopIterationNoBuffer = 3,
}

/** What a filter does with trailers, HTTP/2 metadata and TCP data. */
export enum Action {
  Continue = 0,
  Pause = 1,
}

/** Which header map. */
export enum MapType {
  RequestHeaders = 0,
  RequestTrailers = 1,
  ResponseHeaders = 2,
  ResponseTrailers = 3,
  GrpcInitialMetadata = 4,
  GrpcTrailingMetadata = 5,
  CallResponseHeaders = 6,
  CallResponseTrailers = 7,
}

/** Which buffer. Those from CallResponseBody on can only be read. */
export enum BufferType {
  RequestBody = 0,
  ResponseBody = 1,
  DownstreamData = 2,
  UpstreamData = 3,
  CallResponseBody = 4,
  GrpcMessage = 5,
  VmConfiguration = 6,
  PluginConfiguration = 7,
  ForeignFunctionArguments = 8,
}

/** Which direction of which kind of stream. */
export enum StreamType {
  Request = 0,
  Response = 1,
  Downstream = 2,
  Upstream = 3,
}

/** Who closed a TCP connection. */
export enum PeerType {
  Unknown = 0,
  Local = 1,
  Remote = 2,
}

/** What a metric counts. */
export enum MetricType {
  Counter = 0,
  Gauge = 1,
  Histogram = 2,
}

// Logging, status, time.
// @ts-ignore: decorator
@external("env", "proxy_log")
export declare function proxy_log(level: LogLevel, p: usize, n: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_get_log_level")
export declare function proxy_get_log_level(level: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_get_status")
export declare function proxy_get_status(code: usize, P: usize, N: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_get_current_time_nanoseconds")
export declare function proxy_get_current_time_nanoseconds(time: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_set_tick_period_milliseconds")
export declare function proxy_set_tick_period_milliseconds(period: u32): Status;

// Contexts and streams.
// @ts-ignore: decorator
@external("env", "proxy_set_effective_context")
export declare function proxy_set_effective_context(context: u32): Status;
// @ts-ignore: decorator
@external("env", "proxy_done")
export declare function proxy_done(): Status;
// @ts-ignore: decorator
@external("env", "proxy_continue_stream")
export declare function proxy_continue_stream(stream: StreamType): Status;
// @ts-ignore: decorator
@external("env", "proxy_close_stream")
export declare function proxy_close_stream(stream: StreamType): Status;
// @ts-ignore: decorator
@external("env", "proxy_send_local_response")
export declare function proxy_send_local_response(
  code: u32,
  details: usize, detailsSize: usize,
  body: usize, bodySize: usize,
  headers: usize, headersSize: usize,
  grpcStatus: i32,
): Status;

// Header maps.
// @ts-ignore: decorator
@external("env", "proxy_get_header_map_value")
export declare function proxy_get_header_map_value(map: MapType, key: usize, n: usize, P: usize, N: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_add_header_map_value")
export declare function proxy_add_header_map_value(map: MapType, key: usize, k: usize, value: usize, v: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_replace_header_map_value")
export declare function proxy_replace_header_map_value(
  map: MapType, key: usize, k: usize, value: usize, v: usize,
): Status;
// @ts-ignore: decorator
@external("env", "proxy_remove_header_map_value")
export declare function proxy_remove_header_map_value(map: MapType, key: usize, n: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_get_header_map_pairs")
export declare function proxy_get_header_map_pairs(map: MapType, P: usize, N: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_set_header_map_pairs")
export declare function proxy_set_header_map_pairs(map: MapType, p: usize, n: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_get_header_map_size")
export declare function proxy_get_header_map_size(map: MapType, size: usize): Status;

// Buffers.
// @ts-ignore: decorator
@external("env", "proxy_get_buffer_bytes")
export declare function proxy_get_buffer_bytes(type: BufferType, start: u32, max: u32, P: usize, N: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_set_buffer_bytes")
export declare function proxy_set_buffer_bytes(type: BufferType, start: u32, size: u32, p: usize, n: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_get_buffer_status")
export declare function proxy_get_buffer_status(type: BufferType, size: usize, flags: usize): Status;

// Properties.
// @ts-ignore: decorator
@external("env", "proxy_get_property")
export declare function proxy_get_property(path: usize, n: usize, P: usize, N: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_set_property")
export declare function proxy_set_property(path: usize, n: usize, value: usize, v: usize): Status;

// HTTP and gRPC call-outs.
// @ts-ignore: decorator
@external("env", "proxy_http_call")
export declare function proxy_http_call(
  cluster: usize, clusterSize: usize,
  headers: usize, headersSize: usize,
  body: usize, bodySize: usize,
  trailers: usize, trailersSize: usize,
  timeout: u32, token: usize,
): Status;
// @ts-ignore: decorator
@external("env", "proxy_grpc_call")
export declare function proxy_grpc_call(
  service: usize, serviceSize: usize,
  name: usize, nameSize: usize,
  method: usize, methodSize: usize,
  metadata: usize, metadataSize: usize,
  message: usize, messageSize: usize,
  timeout: u32, token: usize,
): Status;
// @ts-ignore: decorator
@external("env", "proxy_grpc_stream")
export declare function proxy_grpc_stream(
  service: usize, serviceSize: usize,
  name: usize, nameSize: usize,
  method: usize, methodSize: usize,
  metadata: usize, metadataSize: usize,
  token: usize,
): Status;
// @ts-ignore: decorator
@external("env", "proxy_grpc_send")
export declare function proxy_grpc_send(token: u32, p: usize, n: usize, endStream: u32): Status;
// @ts-ignore: decorator
@external("env", "proxy_grpc_cancel")
export declare function proxy_grpc_cancel(token: u32): Status;
// @ts-ignore: decorator
@external("env", "proxy_grpc_close")
export declare function proxy_grpc_close(token: u32): Status;

// Shared data and queues.
// @ts-ignore: decorator
@external("env", "proxy_get_shared_data")
export declare function proxy_get_shared_data(key: usize, n: usize, P: usize, N: usize, cas: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_set_shared_data")
export declare function proxy_set_shared_data(key: usize, k: usize, value: usize, v: usize, cas: u32): Status;
// @ts-ignore: decorator
@external("env", "proxy_register_shared_queue")
export declare function proxy_register_shared_queue(name: usize, n: usize, token: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_resolve_shared_queue")
export declare function proxy_resolve_shared_queue(vm: usize, v: usize, name: usize, n: usize, token: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_enqueue_shared_queue")
export declare function proxy_enqueue_shared_queue(token: u32, p: usize, n: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_dequeue_shared_queue")
export declare function proxy_dequeue_shared_queue(token: u32, P: usize, N: usize): Status;

// Metrics.
// @ts-ignore: decorator
@external("env", "proxy_define_metric")
export declare function proxy_define_metric(type: MetricType, name: usize, n: usize, id: usize): Status;
// @ts-ignore: decorator
@external("env", "proxy_increment_metric")
export declare function proxy_increment_metric(id: u32, offset: i64): Status;
// @ts-ignore: decorator
@external("env", "proxy_record_metric")
export declare function proxy_record_metric(id: u32, value: u64): Status;
// @ts-ignore: decorator
@external("env", "proxy_get_metric")
export declare function proxy_get_metric(id: u32, value: usize): Status;

// Functions of one host.
// @ts-ignore: decorator
@external("env", "proxy_call_foreign_function")
export declare function proxy_call_foreign_function(
  name: usize, n: usize, args: usize, a: usize, P: usize, N: usize,
): Status;
