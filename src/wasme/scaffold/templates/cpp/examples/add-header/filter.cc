// Adds a header to every response: `hello: world`, or what the configuration says.

#include "proxy/proxy.h"

using namespace proxy;

class AddHeader : public RootContext {
 public:
  bool onConfigure(StringView configuration) {
    if (JsonObject::looksLike(configuration)) {
      JsonObject json(configuration);
      if (json && json.read("header", header) && json.read("value", value)) return true;
      logError("the configuration is not a JSON object of texts");
      return false;
    }
    if (!configuration.empty()) value = configuration;
    return true;
  }

  String header = "hello";
  String value = "world";
};

class AddHeaderStream : public HttpContext<AddHeader> {
 public:
  HeadersAction onResponseHeaders(uint32_t, bool) {
    responseHeaders.add(root().header, root().value);
    return HeadersAction::Continue;
  }
};

PROXY_PLUGIN(AddHeader, AddHeaderStream)
