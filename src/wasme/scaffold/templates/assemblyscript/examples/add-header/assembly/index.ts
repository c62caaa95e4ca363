// Adds a header to every response: `hello: world`, or what the configuration says.
//
// The configuration is text, the header's value; or JSON: {"header": "hello", "value": "world"}.

import {
  HeadersAction, HttpContext, JsonObject, RootContext, StreamContext, logError, register, responseHeaders,
} from "./proxy";

// The callbacks of this filter; "./proxy/exports" has them all, in a larger module.
export * from "./proxy/exports/plugin";
export * from "./proxy/exports/http";

class AddHeaderRoot extends RootContext {
  header: string = "hello";
  value: string = "world";

  onConfigure(configuration: string): bool {
    if (JsonObject.looksLike(configuration)) {
      const json = JsonObject.parse(configuration);
      if (!json) {
        logError("configuration begins with { but is not JSON");
        return false;
      }
      this.header = json.get("header", "hello");
      this.value = json.get("value", "world");
    } else if (configuration.length > 0) {
      this.value = configuration;
    }
    return true;
  }

  createContext(id: u32): StreamContext {
    return new AddHeader(id, this);
  }
}

class AddHeader extends HttpContext {
  constructor(id: u32, private root: AddHeaderRoot) {
    super(id);
  }

  onResponseHeaders(count: u32, endOfStream: bool): HeadersAction {
    responseHeaders.add(this.root.header, this.root.value);
    return HeadersAction.Continue;
  }
}

register("add_header", (id: u32): RootContext => new AddHeaderRoot(id));
