// For an HttpContext: requests and responses.

import { Action, DataAction, HeadersAction } from "../abi";
import { http } from "../lookup";

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
