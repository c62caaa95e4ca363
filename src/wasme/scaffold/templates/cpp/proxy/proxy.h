// Write a filter for Envoy in C++: the one header that a filter includes.
//
// A filter is two classes. One, a RootContext, lives as long as the plugin and holds its configuration. Of the other,
// an HttpContext (or a TcpContext), the host has an object for each request (or connection):
//
//     class Greeting : public proxy::RootContext {
//      public:
//       bool onConfigure(proxy::StringView configuration) { … }
//       proxy::String value;
//     };
//
//     class Greet : public proxy::HttpContext<Greeting> {
//      public:
//       proxy::HeadersAction onResponseHeaders(uint32_t count, bool endOfStream) {
//         proxy::responseHeaders.add("hello", root().value);
//         return proxy::HeadersAction::Continue;
//       }
//     };
//
//     PROXY_PLUGIN(Greeting, Greet)
//
// The callbacks that a class has become exports of the module, and those it has not cost nothing: Envoy does not call
// in. Host calls that it does not make are not imported. There are no linker flags to keep in step with the source.
//
// The code runs in a VM of its own on each of Envoy's threads, one callback at a time: no locks, and nothing blocks.
// There is no C library and no standard library; text.h, headers.h and json.h have what header work needs. There are
// no exceptions and no RTTI: a call that can fail gives a Status, or a Result with the Status in it.
//
// The files, from the bottom up. Each may be read by itself, and all of it is yours to change.
//
//     version.h    which version of Proxy-Wasm the module speaks     buffers.h    bodies and other bytes of the host's
//     types.h      the numbers of the interface, by name             contexts.h   the classes a filter extends
//     abi.h        the host's functions, as they are                 calls.h      HTTP and gRPC requests of its own
//     runtime.h    what compilers expect of a C library              shared.h     data and queues between VMs
//     memory.h     the allocator                                     metrics.h    counters, gauges, histograms
//     result.h     a value, or why there is none                     host.h       properties, time, other functions
//     text.h       StringView, String, concat                        json.h       configurations in JSON
//     log.h        Envoy's log                                       table.h      what the host knows by a number
//     headers.h    headers and trailers                              exports.h    the callbacks, as the host sees them
//                                                                    plugin.h     PROXY_PLUGIN
#pragma once

#include "abi.h"
#include "buffers.h"
#include "calls.h"
#include "contexts.h"
#include "exports.h"
#include "headers.h"
#include "host.h"
#include "json.h"
#include "log.h"
#include "memory.h"
#include "metrics.h"
#include "plugin.h"
#include "result.h"
#include "runtime.h"
#include "shared.h"
#include "table.h"
#include "text.h"
#include "types.h"
#include "version.h"
