// The example add-header, a configuration of text only, on the upstream C++ SDK: the peer of ours.

#include <string>

#include "proxy_wasm_intrinsics.h"

class AddHeaderRoot : public RootContext {
 public:
  explicit AddHeaderRoot(uint32_t id, std::string_view root_id) : RootContext(id, root_id) {}

  bool onConfigure(size_t size) override {
    if (size > 0) value = getBufferBytes(WasmBufferType::PluginConfiguration, 0, size)->toString();
    return true;
  }

  std::string value = "world";
};

class AddHeader : public Context {
 public:
  explicit AddHeader(uint32_t id, RootContext* root) : Context(id, root) {}

  FilterHeadersStatus onResponseHeaders(uint32_t, bool) override {
    addResponseHeader("hello", static_cast<AddHeaderRoot*>(root())->value);
    return FilterHeadersStatus::Continue;
  }
};

static RegisterContextFactory registered(CONTEXT_FACTORY(AddHeader), ROOT_FACTORY(AddHeaderRoot), "add_header");
