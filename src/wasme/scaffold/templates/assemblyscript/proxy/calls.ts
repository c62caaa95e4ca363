// Call-outs: HTTP and gRPC requests of the filter's own, to clusters that Envoy's configuration names.
// The answer comes back to the context that asked, with the host calls acting on it; if the request it belongs to
// has ended in the meantime, the answer is dropped.

import {
  Status,
  proxy_get_status, proxy_grpc_call, proxy_grpc_cancel, proxy_grpc_close, proxy_grpc_send, proxy_grpc_stream,
  proxy_http_call,
} from "./abi";
import { Context } from "./contexts";
import { Headers } from "./headers";
import { OUT, address, clear, takenText, utf8 } from "./memory";
import { Entry, ROWS, add, get, remove } from "./table";

class Call extends Entry {
  constructor(token: u32, readonly context: Context) { super(token); }
}

// @ts-ignore: decorator
@lazy const waiting: usize = memory.data(ROWS * 4, 4);

/** The context that waits for the answer to call `token`, or null; it is forgotten with the `last` answer. */
export function waitingFor(token: u32, last: bool): Context | null {
  const call = changetype<Call | null>(get(waiting, token)); // this table holds nothing else
  if (!call) return null;
  if (last) remove(waiting, token);
  return call.context;
}

// @ts-ignore: decorator
@lazy const NO_BODY = new ArrayBuffer(0);

function sent(context: Context, status: Status): u32 {
  if (status != Status.Ok) return 0;
  const token = load<u32>(OUT);
  add(waiting, new Call(token, context));
  return token;
}

/**
 * Send an HTTP request; `headers` must have :method, :path and :authority. `context.onHttpCallResponse` gets the
 * answer, or headers == 0 after a failure or `timeout` milliseconds.
 * Gives a token, or 0 when the call could not be sent: the cluster is unknown or a header is missing.
 */
export function httpCall(
  context: Context, cluster: string, headers: Headers, timeout: u32,
  body: ArrayBuffer = NO_BODY, trailers: Headers | null = null,
): u32 {
  const c = utf8(cluster);
  const h = headers.encode();
  const t = trailers ? trailers.encode() : NO_BODY;
  clear();
  return sent(context, proxy_http_call(
    address(c), c.byteLength, address(h), h.byteLength, address(body), body.byteLength,
    address(t), t.byteLength, timeout, OUT,
  ));
}

/**
 * Call a unary gRPC method. `service` is a serialised envoy.config.core.v3.GrpcService, or a cluster's name.
 * `context.onGrpcMessage` gets the answer, then comes `onGrpcClose`. Gives a token, or 0 when it could not be sent.
 */
export function grpcCall(
  context: Context, service: ArrayBuffer, name: string, method: string, message: ArrayBuffer, timeout: u32,
  metadata: Headers | null = null,
): u32 {
  const n = utf8(name);
  const m = utf8(method);
  const h = metadata ? metadata.encode() : NO_BODY;
  clear();
  return sent(context, proxy_grpc_call(
    address(service), service.byteLength, address(n), n.byteLength, address(m), m.byteLength,
    address(h), h.byteLength, address(message), message.byteLength, timeout, OUT,
  ));
}

/** Open a gRPC stream, as `grpcCall`; messages follow by `grpcSend`. */
export function grpcStream(
  context: Context, service: ArrayBuffer, name: string, method: string, metadata: Headers | null = null,
): u32 {
  const n = utf8(name);
  const m = utf8(method);
  const h = metadata ? metadata.encode() : NO_BODY;
  clear();
  return sent(context, proxy_grpc_stream(
    address(service), service.byteLength, address(n), n.byteLength, address(m), m.byteLength,
    address(h), h.byteLength, OUT,
  ));
}

/** Send a message on a stream; with `endOfStream` it is the last. */
export function grpcSend(token: u32, message: ArrayBuffer, endOfStream: bool = false): Status {
  return proxy_grpc_send(token, address(message), message.byteLength, endOfStream);
}

/** Break a call or stream off: nothing more is heard of it. */
export function grpcCancel(token: u32): Status {
  remove(waiting, token);
  return proxy_grpc_cancel(token);
}

/** Close a stream: nothing more is heard of it. */
export function grpcClose(token: u32): Status {
  remove(waiting, token);
  return proxy_grpc_close(token);
}

/** The message beside the status of `onGrpcClose`. */
export function grpcStatusMessage(): string {
  clear();
  // The status code goes to the third word; onGrpcClose has it already.
  return proxy_get_status(OUT + 8, OUT, OUT + 4) == Status.Ok ? takenText() : "";
}
