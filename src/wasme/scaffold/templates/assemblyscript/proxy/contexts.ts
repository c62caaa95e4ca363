// The classes a filter extends. The host tells a root context about the plugin, and one stream context per request
// or connection about that; ids are the host's. Every callback has a default that does nothing and lets traffic pass.

import {
  Action, DataAction, HeadersAction, PeerType, Status, StreamType,
  proxy_close_stream, proxy_continue_stream, proxy_done, proxy_send_local_response, proxy_set_effective_context,
  proxy_set_tick_period_milliseconds,
} from "./abi";
import { Headers } from "./headers";
import { address, utf8 } from "./memory";
import { Entry } from "./table";

/** Which callbacks a context can have. */
export enum Kind { Root, Http, Tcp }

/** What root and stream contexts have in common. */
export abstract class Context extends Entry {
  constructor(id: u32, readonly kind: Kind) { super(id); }

  /** The stream or the plugin ends. Return false to stay until `done()` is called. */
  onDone(): bool { return true; }
  /** The stream has ended: the last chance to read its headers and properties, e.g. for an access log. */
  onLog(): void {}
  /** The context is about to be forgotten. */
  onDelete(): void {}

  /** The answer to `httpCall`. `headers` is 0 when the call failed or timed out. */
  onHttpCallResponse(token: u32, headers: u32, bodySize: u32, trailers: u32): void {}

  /** The peer of `grpcStream` has sent its first metadata (`grpcInitialMetadata`). */
  onGrpcInitialMetadata(token: u32, count: u32): void {}
  /** A message has arrived (`grpcMessage`). */
  onGrpcMessage(token: u32, size: u32): void {}
  /** The peer has sent its last metadata (`grpcTrailingMetadata`). */
  onGrpcTrailingMetadata(token: u32, count: u32): void {}
  /** The call or stream is over; `grpcStatusMessage()` has the text. */
  onGrpcClose(token: u32, status: u32): void {}

  /** Make host calls act on this context. Needed only outside its own callbacks, e.g. in `onTick`. */
  activate(): Status { return proxy_set_effective_context(this.id); }

  /** Finish what `onDone` held up. */
  done(): Status {
    this.activate();
    return proxy_done();
  }
}

/** One plugin: its configuration, its timer, its queues. */
export abstract class RootContext extends Context {
  constructor(id: u32) { super(id, Kind.Root); }

  /** The VM has started with this configuration (`vm_config.configuration`). Return false to refuse. */
  onVmStart(configuration: string): bool { return true; }
  /** The plugin's configuration. Return false to refuse it: Envoy then says "Failed to configure base Wasm plugin". */
  onConfigure(configuration: string): bool { return true; }
  /** Whether a configuration would be accepted; few hosts ask. */
  onValidateConfiguration(configuration: string): bool { return true; }
  /** The timer of `setTickPeriod`. */
  onTick(): void {}
  /** Something has been put into a queue that this plugin registered. */
  onQueueReady(queue: u32): void {}
  /** The host calls a function by number (`foreignFunctionArguments`). */
  onForeignFunction(id: u32, size: u32): void {}

  /** A new request or connection: an HttpContext or a TcpContext for it, or null to ignore it. */
  createContext(id: u32): StreamContext | null { return null; }

  /** Call `onTick` every so many milliseconds; 0 ends it. */
  setTickPeriod(milliseconds: u32): Status {
    this.activate();
    return proxy_set_tick_period_milliseconds(milliseconds);
  }
}

/** One request or one connection: see HttpContext and TcpContext. */
export abstract class StreamContext extends Context {}

/** One HTTP request and its response. */
export abstract class HttpContext extends StreamContext {
  constructor(id: u32) { super(id, Kind.Http); }

  /** `count` headers have arrived; with `endOfStream` no body follows. */
  onRequestHeaders(count: u32, endOfStream: bool): HeadersAction { return HeadersAction.Continue; }
  /** `size` bytes can be read from `requestBody`. */
  onRequestBody(size: u32, endOfStream: bool): DataAction { return DataAction.Continue; }
  onRequestTrailers(count: u32): Action { return Action.Continue; }
  /** HTTP/2 METADATA frames. */
  onRequestMetadata(count: u32): Action { return Action.Continue; }
  onResponseHeaders(count: u32, endOfStream: bool): HeadersAction { return HeadersAction.Continue; }
  /** `size` bytes can be read from `responseBody`. */
  onResponseBody(size: u32, endOfStream: bool): DataAction { return DataAction.Continue; }
  onResponseTrailers(count: u32): Action { return Action.Continue; }
  onResponseMetadata(count: u32): Action { return Action.Continue; }

  /** Let a held request go on, once the running callback has returned. */
  resumeRequest(): Status {
    this.activate();
    return proxy_continue_stream(StreamType.Request);
  }

  /** Let a held response go on, once the running callback has returned. */
  resumeResponse(): Status {
    this.activate();
    return proxy_continue_stream(StreamType.Response);
  }

  /** Reset the request. */
  closeRequest(): Status {
    this.activate();
    return proxy_close_stream(StreamType.Request);
  }

  /** Reset the response. */
  closeResponse(): Status {
    this.activate();
    return proxy_close_stream(StreamType.Response);
  }

  /**
   * Answer the request from here; it goes no further. The callback returns `HeadersAction.StopIteration` (or its like).
   * `details` stands in Envoy's access log; `grpcStatus` is for gRPC requests, -1 for none.
   */
  respond(
    status: u32, body: string = "", headers: Headers | null = null, details: string = "", grpcStatus: i32 = -1,
  ): Status {
    return this.respondBytes(status, utf8(body), headers, details, grpcStatus);
  }

  /** As `respond`, with a body that need not be text. */
  respondBytes(
    status: u32, body: ArrayBuffer, headers: Headers | null = null, details: string = "", grpcStatus: i32 = -1,
  ): Status {
    this.activate();
    const d = utf8(details);
    const h = headers ? headers.encode() : new ArrayBuffer(0);
    return proxy_send_local_response(
      status, address(d), d.byteLength, address(body), body.byteLength, address(h), h.byteLength, grpcStatus,
    );
  }
}

/** One TCP connection. */
export abstract class TcpContext extends StreamContext {
  constructor(id: u32) { super(id, Kind.Tcp); }

  onNewConnection(): Action { return Action.Continue; }
  /** `size` bytes from the client can be read from `downstreamData`. */
  onDownstreamData(size: u32, endOfStream: bool): Action { return Action.Continue; }
  /** `size` bytes from the server can be read from `upstreamData`. */
  onUpstreamData(size: u32, endOfStream: bool): Action { return Action.Continue; }
  onDownstreamClose(peer: PeerType): void {}
  onUpstreamClose(peer: PeerType): void {}

  /** Let held client data go on. */
  resumeDownstream(): Status {
    this.activate();
    return proxy_continue_stream(StreamType.Downstream);
  }

  /** Let held server data go on. */
  resumeUpstream(): Status {
    this.activate();
    return proxy_continue_stream(StreamType.Upstream);
  }

  /** Close the client's side. */
  closeDownstream(): Status {
    this.activate();
    return proxy_close_stream(StreamType.Downstream);
  }

  /** Close the server's side. */
  closeUpstream(): Status {
    this.activate();
    return proxy_close_stream(StreamType.Upstream);
  }
}
