// Rewrites the bodies of requests and responses: every `hello` becomes `good day`.
//
// A body is held back until its end, so a word that comes in two pieces is found. An encoded body passes as it is.
// The configuration is empty or JSON: {"find": "hello", "replace": "good day"}.

import {
  Action, Buffer, DataAction, HeaderMap, HeadersAction, HttpContext, JsonObject, RootContext, StreamContext,
  logError, register, replaceAll, requestBody, requestHeaders, responseBody, responseHeaders, utf8,
} from "./proxy";

// The callbacks of this filter; "./proxy/exports" has them all, in a larger module.
export * from "./proxy/exports/plugin";
export * from "./proxy/exports/http";

class BodyRoot extends RootContext {
  // As bytes, since a body need not be text.
  find: ArrayBuffer = utf8("hello");
  replace: ArrayBuffer = utf8("good day");

  override onConfigure(configuration: string): bool {
    if (configuration.length == 0) return true;
    const json = JsonObject.parse(configuration);
    const find = json ? json.getText("find", "hello") : null;
    const replace = json ? json.getText("replace", "good day") : null;
    if (find === null || find.length == 0 || replace === null) {
      logError("the configuration is not a JSON object of texts, or `find` is empty");
      return false;
    }
    this.find = utf8(find);
    this.replace = utf8(replace);
    return true;
  }

  override createContext(id: u32): StreamContext {
    return new Body(id, this);
  }
}

/** Whether a content-encoding is the one that changes nothing; in any case, as codings are written. */
function isIdentity(encoding: ArrayBuffer): bool {
  const identity = "identity";
  const coding = Uint8Array.wrap(encoding);
  if (coding.length != identity.length) return false;
  for (let i = 0; i < identity.length; i++) {
    if ((coding[i] | 0x20) != identity.charCodeAt(i)) return false;
  }
  return true;
}

class Body extends HttpContext {
  private request: bool = false;
  private response: bool = false;

  constructor(id: u32, private root: BodyRoot) {
    super(id);
  }

  override onRequestHeaders(count: u32, endOfStream: bool): HeadersAction {
    this.request = !endOfStream && this.prepare(requestHeaders);
    return HeadersAction.Continue;
  }

  override onRequestBody(size: u32, endOfStream: bool): DataAction {
    if (!this.request) return DataAction.Continue;
    if (!endOfStream) return DataAction.StopIterationAndBuffer;
    this.rewrite(requestBody);
    return DataAction.Continue;
  }

  /** Trailers end a body too, and what has been held back is still there. */
  override onRequestTrailers(count: u32): Action {
    if (this.request) this.rewrite(requestBody);
    return Action.Continue;
  }

  override onResponseHeaders(count: u32, endOfStream: bool): HeadersAction {
    this.response = !endOfStream && this.prepare(responseHeaders);
    return HeadersAction.Continue;
  }

  override onResponseBody(size: u32, endOfStream: bool): DataAction {
    if (!this.response) return DataAction.Continue;
    if (!endOfStream) return DataAction.StopIterationAndBuffer;
    this.rewrite(responseBody);
    return DataAction.Continue;
  }

  override onResponseTrailers(count: u32): Action {
    if (this.response) this.rewrite(responseBody);
    return Action.Continue;
  }

  /** Whether the body can be read; if so, its length is no longer told, since that may change. */
  private prepare(headers: HeaderMap): bool {
    const encoding = headers.getBytes("content-encoding");
    if (encoding && encoding.byteLength > 0 && !isIdentity(encoding)) return false;
    headers.remove("content-length");
    return true;
  }

  private rewrite(buffer: Buffer): void {
    const before = buffer.bytes();
    const after = replaceAll(before, this.root.find, this.root.replace);
    if (after !== before) buffer.replace(after);
  }
}

register("body", (id: u32): RootContext => new BodyRoot(id));
