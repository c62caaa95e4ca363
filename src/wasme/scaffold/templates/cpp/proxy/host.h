// What else the host knows and does: properties, time, functions of its own.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "text.h"

namespace proxy {

namespace detail {

// A path is its steps with a zero between each two.
inline String path(std::initializer_list<StringView> steps) {
  String joined;
  for (const StringView& step : steps) {
    if (&step != steps.begin()) joined.append('\0');
    joined.append(step);
  }
  return joined;
}

template <class T>
Result<T> number(const Result<String>& bytes) {
  if (!bytes) return bytes.status();
  if (bytes->size() != sizeof(T)) return Status::ResultMismatch;
  T value;
  __builtin_memcpy(&value, bytes->data(), sizeof(T));
  return value;
}

}  // namespace detail

// A property by its path: getProperty({"request", "path"}), {"source", "address"}, {"connection", "mtls"}. Envoy's
// documentation lists them under "attributes". NotFound if there is none. Text comes as it is; the other types below.
inline Result<String> getProperty(std::initializer_list<StringView> steps) {
  const String path = detail::path(steps);
  detail::Out out;
  return out.result(abi::proxy_get_property(path.data(), path.size(), &out.data, &out.size));
}

// A whole number, such as {"response", "code"}; times and durations are in nanoseconds.
inline Result<int64_t> getPropertyInteger(std::initializer_list<StringView> path) {
  return detail::number<int64_t>(getProperty(path));
}
inline Result<double> getPropertyDouble(std::initializer_list<StringView> path) {
  return detail::number<double>(getProperty(path));
}
inline Result<bool> getPropertyBool(std::initializer_list<StringView> path) {
  const Result<uint8_t> byte = detail::number<uint8_t>(getProperty(path));
  return {byte.status(), *byte != 0};
}

// Keep a value with the stream: read again by the same path, and by access logs as %FILTER_STATE(wasm.NAME)%.
inline Status setProperty(std::initializer_list<StringView> steps, StringView value) {
  const String path = detail::path(steps);
  return abi::proxy_set_property(path.data(), path.size(), value.data(), value.size());
}

// Nanoseconds since 1970.
inline uint64_t currentTime() {
  uint64_t nanoseconds = 0;
  abi::proxy_get_current_time_nanoseconds(&nanoseconds);
  return nanoseconds;
}

// Call a function that this host offers by name; NotFound if it has none such.
inline Result<String> callForeignFunction(StringView name, StringView arguments = {}) {
  detail::Out out;
  return out.result(abi::proxy_call_foreign_function(name.data(), name.size(), arguments.data(), arguments.size(),
                                                     &out.data, &out.size));
}

// Let Envoy choose the route again, after a change of the request that it did not see.
inline Status clearRouteCache() {
#if PROXY_ABI_NUMBER >= 20
  return callForeignFunction("clear_route_cache").status();
#else
  return abi::proxy_clear_route_cache();
#endif
}

}  // namespace proxy
