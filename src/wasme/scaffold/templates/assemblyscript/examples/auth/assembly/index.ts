// Asks a service about every request and lets it pass only if the answer is 200 and its body is `ok`.
//
// The request's `userId` header goes to GET /auth of the cluster below. Any other body gives 403 with the service's own
// words; an answer other than 200, none within five seconds, or no such cluster gives 403 with `fail`.
//
// The configuration is empty or JSON: {"cluster": "…", "path": "/auth", "authority": "auth-simple:8080"}.

import {
  Headers, HeadersAction, HttpContext, JsonObject, RootContext, StreamContext,
  callResponseBody, callResponseHeaders, httpCall, isUtf8, logError, logWarn, register, requestHeaders, text, utf8,
} from "./proxy";

// The callbacks of this filter; "./proxy/exports" has them all, in a larger module.
export * from "./proxy/exports/plugin";
export * from "./proxy/exports/http";
export * from "./proxy/exports/calls";

const TIMEOUT_MILLISECONDS: u32 = 5000;
const NO_WORDS = new ArrayBuffer(0);

class AuthRoot extends RootContext {
  cluster: string = "outbound|8080||auth-simple.istio.svc.cluster.local";
  path: string = "/auth";
  authority: string = "auth-simple:8080";

  override onConfigure(configuration: string): bool {
    if (configuration.length == 0) return true;
    const json = JsonObject.parse(configuration);
    const cluster = json ? json.getText("cluster", this.cluster) : null;
    const path = json ? json.getText("path", this.path) : null;
    const authority = json ? json.getText("authority", this.authority) : null;
    if (cluster === null || path === null || authority === null) {
      logError("the configuration is not a JSON object of texts");
      return false;
    }
    this.cluster = cluster;
    this.path = path;
    this.authority = authority;
    return true;
  }

  override createContext(id: u32): StreamContext {
    return new Auth(id, this);
  }
}

class Auth extends HttpContext {
  constructor(id: u32, private root: AuthRoot) {
    super(id);
  }

  override onRequestHeaders(count: u32, endOfStream: bool): HeadersAction {
    const userId = requestHeaders.getBytes("userId");
    if (userId && !isUtf8(userId)) {
      this.refuse(NO_WORDS);
      return HeadersAction.StopIteration;
    }
    const headers = new Headers()
      .add(":method", "GET")
      .add(":path", this.root.path)
      .add(":authority", this.root.authority)
      .add("userId", userId ? text(userId) : "");
    if (httpCall(this, this.root.cluster, headers, TIMEOUT_MILLISECONDS) == 0) {
      logWarn("cannot call cluster " + this.root.cluster);
      this.refuse(NO_WORDS);
    }
    return HeadersAction.StopIteration; // until the answer is here
  }

  override onHttpCallResponse(token: u32, headers: u32, bodySize: u32, trailers: u32): void {
    // Envoy answers for a service that it cannot reach; those words, and a service's trouble, are not for the client.
    const words = callResponseHeaders.get(":status") == "200" ? callResponseBody.bytes() : NO_WORDS;
    if (isUtf8(words) && text(words) == "ok") this.resumeRequest();
    else this.refuse(words);
  }

  private refuse(words: ArrayBuffer): void {
    this.respondBytes(403, words.byteLength > 0 ? words : utf8("fail"));
  }
}

register("auth", (id: u32): RootContext => new AuthRoot(id));
