// For onHttpCallResponse: the answers to `httpCall`.

import { caller } from "../lookup";

export function proxy_on_http_call_response(id: u32, token: u32, headers: u32, size: u32, trailers: u32): void {
  const context = caller(token, true);
  if (context) context.onHttpCallResponse(token, headers, size, trailers);
}
