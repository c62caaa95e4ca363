// What the host calls. A filter's entry file has `export * from "./proxy/exports"`; the names and signatures are the
// ABI's, and each function finds the context that it is about.

import { Action, DataAction, HeadersAction, PeerType, proxy_set_effective_context } from "./abi";
import { foreignFunctionArguments, pluginConfiguration, vmConfiguration } from "./buffers";
import { waitingFor } from "./calls";
import { Context, HttpContext, Kind, RootContext, TcpContext } from "./contexts";
import { propertyAt } from "./host";
import { logError } from "./log";
import { text } from "./memory";
import { createRoot } from "./register";
import { Table } from "./table";

export { proxy_on_memory_allocate } from "./memory";

/** The mark by which hosts know the ABI; never called. */
export function proxy_abi_version_0_2_1(): void {}

const contexts = new Table();

function find(id: u32): Context | null {
  return changetype<Context | null>(contexts.get(id)); // this table holds nothing else
}

function root(id: u32): RootContext | null {
  const context = find(id);
  return context && context.kind == Kind.Root ? changetype<RootContext>(context) : null;
}

function http(id: u32): HttpContext | null {
  const context = find(id);
  return context && context.kind == Kind.Http ? changetype<HttpContext>(context) : null;
}

function tcp(id: u32): TcpContext | null {
  const context = find(id);
  return context && context.kind == Kind.Tcp ? changetype<TcpContext>(context) : null;
}

export function proxy_on_context_create(id: u32, parent: u32): void {
  if (parent == 0) {
    const rootId = propertyAt("plugin_root_id");
    const context = createRoot(rootId ? text(rootId) : "", id);
    if (context) contexts.add(context);
    return;
  }
  const owner = root(parent);
  const context = owner ? owner.createContext(id) : null;
  if (context) contexts.add(context);
}

export function proxy_on_vm_start(id: u32, size: u32): u32 {
  const context = root(id);
  if (!context) {
    logError("this module has no filter of that root id");
    return 0;
  }
  return context.onVmStart(vmConfiguration.text());
}

export function proxy_validate_configuration(id: u32, size: u32): u32 {
  const context = root(id);
  return context ? context.onValidateConfiguration(pluginConfiguration.text()) : 0;
}

export function proxy_on_configure(id: u32, size: u32): u32 {
  const context = root(id);
  return context ? context.onConfigure(pluginConfiguration.text()) : 0;
}

export function proxy_on_tick(id: u32): void {
  const context = root(id);
  if (context) context.onTick();
}

export function proxy_on_queue_ready(id: u32, queue: u32): void {
  const context = root(id);
  if (context) context.onQueueReady(queue);
}

export function proxy_on_foreign_function(id: u32, functionId: u32, size: u32): void {
  const context = root(id);
  if (context) context.onForeignFunction(functionId, size);
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
    contexts.remove(id);
  }
}

// HTTP streams.

export function proxy_on_request_headers(id: u32, count: u32, endOfStream: u32): HeadersAction {
  const context = http(id);
  return context ? context.onRequestHeaders(count, endOfStream != 0) : HeadersAction.Continue;
}

export function proxy_on_request_body(id: u32, size: u32, endOfStream: u32): DataAction {
  const context = http(id);
  return context ? context.onRequestBody(size, endOfStream != 0) : DataAction.Continue;
}

export function proxy_on_request_trailers(id: u32, count: u32): Action {
  const context = http(id);
  return context ? context.onRequestTrailers(count) : Action.Continue;
}

export function proxy_on_request_metadata(id: u32, count: u32): Action {
  const context = http(id);
  return context ? context.onRequestMetadata(count) : Action.Continue;
}

export function proxy_on_response_headers(id: u32, count: u32, endOfStream: u32): HeadersAction {
  const context = http(id);
  return context ? context.onResponseHeaders(count, endOfStream != 0) : HeadersAction.Continue;
}

export function proxy_on_response_body(id: u32, size: u32, endOfStream: u32): DataAction {
  const context = http(id);
  return context ? context.onResponseBody(size, endOfStream != 0) : DataAction.Continue;
}

export function proxy_on_response_trailers(id: u32, count: u32): Action {
  const context = http(id);
  return context ? context.onResponseTrailers(count) : Action.Continue;
}

export function proxy_on_response_metadata(id: u32, count: u32): Action {
  const context = http(id);
  return context ? context.onResponseMetadata(count) : Action.Continue;
}

// TCP connections.

export function proxy_on_new_connection(id: u32): Action {
  const context = tcp(id);
  return context ? context.onNewConnection() : Action.Continue;
}

export function proxy_on_downstream_data(id: u32, size: u32, endOfStream: u32): Action {
  const context = tcp(id);
  return context ? context.onDownstreamData(size, endOfStream != 0) : Action.Continue;
}

export function proxy_on_upstream_data(id: u32, size: u32, endOfStream: u32): Action {
  const context = tcp(id);
  return context ? context.onUpstreamData(size, endOfStream != 0) : Action.Continue;
}

export function proxy_on_downstream_connection_close(id: u32, peer: PeerType): void {
  const context = tcp(id);
  if (context) context.onDownstreamClose(peer);
}

export function proxy_on_upstream_connection_close(id: u32, peer: PeerType): void {
  const context = tcp(id);
  if (context) context.onUpstreamClose(peer);
}

// Call-outs: the host names the root; the answer belongs to the context that asked, if it is still there.

function caller(token: u32, last: bool): Context | null {
  const context = waitingFor(token, last);
  if (!context || find(context.id) !== context) return null;
  proxy_set_effective_context(context.id);
  return context;
}

export function proxy_on_http_call_response(id: u32, token: u32, headers: u32, size: u32, trailers: u32): void {
  const context = caller(token, true);
  if (context) context.onHttpCallResponse(token, headers, size, trailers);
}

export function proxy_on_grpc_receive_initial_metadata(id: u32, token: u32, count: u32): void {
  const context = caller(token, false);
  if (context) context.onGrpcInitialMetadata(token, count);
}

export function proxy_on_grpc_receive(id: u32, token: u32, size: u32): void {
  const context = caller(token, false);
  if (context) context.onGrpcMessage(token, size);
}

export function proxy_on_grpc_receive_trailing_metadata(id: u32, token: u32, count: u32): void {
  const context = caller(token, false);
  if (context) context.onGrpcTrailingMetadata(token, count);
}

export function proxy_on_grpc_close(id: u32, token: u32, status: u32): void {
  const context = caller(token, true);
  if (context) context.onGrpcClose(token, status);
}
