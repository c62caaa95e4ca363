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

  override onConfigure(configuration: string): bool {
    if (JsonObject.looksLike(configuration)) {
      const json = JsonObject.parse(configuration);
      const header = json ? json.getText("header", "hello") : null;
      const value = json ? json.getText("value", "world") : null;
      if (header === null || value === null) {
        logError("configuration begins with { but is not JSON of texts");
        return false;
      }
      this.header = header;
      this.value = value;
    } else if (configuration.length > 0) {
      this.value = configuration;
    }
    return true;
  }

  override createContext(id: u32): StreamContext {
    return new AddHeader(id, this);
  }
}

class AddHeader extends HttpContext {
  constructor(id: u32, private root: AddHeaderRoot) {
    super(id);
  }

  override onResponseHeaders(count: u32, endOfStream: bool): HeadersAction {
    responseHeaders.add(this.root.header, this.root.value);
    return HeadersAction.Continue;
  }
}

register("add_header", (id: u32): RootContext => new AddHeaderRoot(id));
