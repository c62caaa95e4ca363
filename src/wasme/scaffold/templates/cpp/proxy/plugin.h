// Which plugins a module holds. This line at the end of a file makes a module of the classes above it, once in a
// project:
//
//     PROXY_PLUGIN(Root, Stream)
//
// for the one plugin of a module, whatever root id the host asks for, or, for several of them,
//
//     PROXY_PLUGINS(Plugin<Root, Stream>, Plugin<OtherRoot, OtherStream>)
//
// where each root has its root id, `static constexpr StringView rootId = "…";`, as runtime-config.json lists them.
// Stream, an HttpContext or a TcpContext, may be left out: a plugin without it has a timer or queues.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "contexts.h"
#include "exports.h"
#include "host.h"
#include "log.h"
#include "version.h"

#define PROXY_PLUGIN(...) PROXY_PLUGINS(::proxy::Plugin<__VA_ARGS__>)
#define PROXY_PLUGINS(...)                                                                         \
  static_assert(::proxy::detail::Module<__VA_ARGS__>::isExported(),                                \
                "no callback: a stream's class has none of those in contexts.h; is it misspelt?"); \
  PROXY_EXPORT("proxy_abi_version_" PROXY_TEXT(PROXY_WASM_ABI)) void proxy_abi_version() {}

#define PROXY_TEXT_(text) #text
#define PROXY_TEXT(text) PROXY_TEXT_(text)

namespace proxy {

// The classes of one plugin.
template <class RootClass, class StreamClass = void>
struct Plugin {
  using Root = RootClass;
  using Stream = StreamClass;

  static_assert(__is_base_of(RootContext, Root), "the first class of a plugin extends RootContext");
  static_assert(__is_same(Stream, void) || __is_base_of(HttpStream, Stream) || __is_base_of(TcpStream, Stream),
                "the second class of a plugin extends HttpContext<Root> or TcpContext<Root>");
};

namespace detail {

// Whether `Theirs`, a pointer to a callback of a filter's class, is another than the SDK's own.
template <class Theirs, class Ours>
struct IsOverridden {
  static constexpr bool value = false;
  static_assert(__is_same(Theirs, Ours), "a callback has not the parameters and the result it has in contexts.h");
};
template <class T, class Base, class Result, class... Arguments>
struct IsOverridden<Result (T::*)(Arguments...), Result (Base::*)(Arguments...)> {
  static constexpr bool value = !__is_same(T, Base);
};
template <class T, class Base, class Result, class... Arguments>
struct IsOverridden<Result (T::*)(Arguments...) const, Result (Base::*)(Arguments...)> {
  static constexpr bool value = true;
};

// All plugins of a module. Its classes are numbered: 0 and 1 are root and stream of the first plugin, 2 and 3 of the
// next. A context has the number of its class, and that is how callbacks find their methods.
template <class... Plugins>
class Module {
 public:
  // Call `call` with the context that has this number, as what it is, if its class extends Base.
  template <class Base, class Call>
  PROXY_INLINE static void with(uint32_t id, Call call) {
    auto* context = static_cast<Context*>(contexts.find(id));
    if (context) choose<Base, 0, Call, Plugins...>(*context, call);
  }

  // Export the callbacks that the plugins have. Nothing is called here: to take an address is enough.
  static constexpr bool isExported() {
    (void)&contextCreate;
    (void)&exports::deleted<Module>;
#if !PROXY_HOSTED
    (void)&initialize;
#endif
    if constexpr (sizeof...(Plugins) > 1) (void)&exports::configure<Module>;  // which refuses a root id of none
    return (... && (exportRoot<typename Plugins::Root>() && exportStream<typename Plugins::Stream>()));
  }

 private:
  template <class Base, uint8_t number, class Call, class First, class... Rest>
  PROXY_INLINE static void choose(Context& context, Call& call) {
    if constexpr (__is_base_of(Base, typename First::Root)) {
      if (context.kind() == number) return call(static_cast<typename First::Root&>(context));
    }
    if constexpr (__is_base_of(Base, typename First::Stream)) {
      if (context.kind() == number + 1) return call(static_cast<typename First::Stream&>(context));
    }
    if constexpr (sizeof...(Rest) > 0) choose<Base, number + 2, Call, Rest...>(context, call);
  }

  // The number of the root class that the host asks for; that of none if there is no such root id.
  template <uint8_t number, class First, class... Rest>
  static uint8_t named(StringView root_id) {
    if (root_id == First::Root::rootId) return number;
    if constexpr (sizeof...(Rest) > 0) return named<number + 2, Rest...>(root_id);
    logError("this module has no plugin with the root id ", root_id);
    return number + 2;
  }

  template <uint8_t number, class First, class... Rest>
  PROXY_INLINE static Context* make(uint8_t kind) {
    if (kind == number) return new typename First::Root;
    if constexpr (!__is_same(typename First::Stream, void)) {
      if (kind == number + 1) return new typename First::Stream;
    }
    if constexpr (sizeof...(Rest) > 0) return make<number + 2, Rest...>(kind);
    return nullptr;
  }

  PROXY_EXPORT("proxy_on_context_create")
  static void contextCreate(uint32_t id, uint32_t parent) {
    next_id = id;
    next_root = static_cast<RootContext*>(contexts.find(parent));
    uint8_t kind = 0;
    if (next_root) {
      kind = next_root->kind() + 1;
    } else if constexpr (sizeof...(Plugins) > 1) {
      kind = named<0, Plugins...>(*getProperty({"plugin_root_id"}));
    }
    Context* context = make<0, Plugins...>(kind);
    if (!context) return;
    context->kind_ = kind;
    contexts.add(context);
  }

#if !PROXY_HOSTED
  // What the host calls first; before 0.2.1 hosts may know it by the older name only.
#if PROXY_ABI_NUMBER >= 21
  PROXY_EXPORT("_initialize")
#else
  PROXY_EXPORT("_start")
#endif
  static void initialize() { __wasm_call_ctors(); }
#endif

#define PROXY_EXPORT_IF(base, method, callback)                                       \
  if constexpr (IsOverridden<decltype(&T::method), decltype(&base::method)>::value) { \
    (void)&exports::callback<Module>;                                                 \
    any = true;                                                                       \
  }

  template <class T>
  static constexpr bool exportContext() {
    bool any = false;
    PROXY_EXPORT_IF(Context, onDone, done)
    PROXY_EXPORT_IF(Context, onLog, log)
    PROXY_EXPORT_IF(Context, onDelete, deleted)
    PROXY_EXPORT_IF(Context, onHttpCallResponse, httpCallResponse)
    PROXY_EXPORT_IF(Context, onGrpcInitialMetadata, grpcInitialMetadata)
    PROXY_EXPORT_IF(Context, onGrpcMessage, grpcReceive)
    PROXY_EXPORT_IF(Context, onGrpcMessage, grpcClose)  // which forgets the call
    PROXY_EXPORT_IF(Context, onGrpcTrailingMetadata, grpcTrailingMetadata)
    PROXY_EXPORT_IF(Context, onGrpcClose, grpcClose)
    return any;
  }

  template <class T>
  static constexpr bool exportRoot() {
    bool any = exportContext<T>();
    PROXY_EXPORT_IF(RootContext, onVmStart, vmStart)
    PROXY_EXPORT_IF(RootContext, onConfigure, configure)
    PROXY_EXPORT_IF(RootContext, onValidateConfiguration, validateConfiguration)
    PROXY_EXPORT_IF(RootContext, onTick, tick)
    PROXY_EXPORT_IF(RootContext, onQueueReady, queueReady)
#if PROXY_ABI_NUMBER >= 20
    PROXY_EXPORT_IF(RootContext, onForeignFunction, foreignFunction)
#endif
    return any || true;  // a root that only is there is no mistake
  }

  template <class T>
  static constexpr bool exportStream() {
    if constexpr (__is_same(T, void)) {
      return true;
    } else {
      bool any = exportContext<T>();
      if constexpr (__is_base_of(HttpStream, T)) {
        PROXY_EXPORT_IF(HttpStream, onRequestHeaders, requestHeaders)
        PROXY_EXPORT_IF(HttpStream, onRequestBody, requestBody)
        PROXY_EXPORT_IF(HttpStream, onRequestTrailers, requestTrailers)
        PROXY_EXPORT_IF(HttpStream, onRequestMetadata, requestMetadata)
        PROXY_EXPORT_IF(HttpStream, onResponseHeaders, responseHeaders)
        PROXY_EXPORT_IF(HttpStream, onResponseBody, responseBody)
        PROXY_EXPORT_IF(HttpStream, onResponseTrailers, responseTrailers)
        PROXY_EXPORT_IF(HttpStream, onResponseMetadata, responseMetadata)
      } else {
        PROXY_EXPORT_IF(TcpStream, onNewConnection, newConnection)
        PROXY_EXPORT_IF(TcpStream, onDownstreamData, downstreamData)
        PROXY_EXPORT_IF(TcpStream, onUpstreamData, upstreamData)
        PROXY_EXPORT_IF(TcpStream, onDownstreamClose, downstreamClose)
        PROXY_EXPORT_IF(TcpStream, onUpstreamClose, upstreamClose)
      }
      return any;
    }
  }

#undef PROXY_EXPORT_IF
};

}  // namespace detail

}  // namespace proxy
