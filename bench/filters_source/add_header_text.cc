// The example add-header for a configuration of text only, for the figure of that name.

#include "proxy/proxy.h"

using namespace proxy;

class AddHeader : public RootContext {
 public:
  bool onConfigure(StringView configuration) {
    if (!configuration.empty()) value = configuration;
    return true;
  }

  String value = "world";
};

class AddHeaderStream : public HttpContext<AddHeader> {
 public:
  HeadersAction onResponseHeaders(uint32_t, bool) {
    responseHeaders.add("hello", root().value);
    return HeadersAction::Continue;
  }
};

PROXY_PLUGIN(AddHeader, AddHeaderStream)
