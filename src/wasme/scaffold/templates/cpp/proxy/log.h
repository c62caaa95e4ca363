// Envoy's log. Its level decides what is written: --component-log-level wasm:info.
//
//     logWarn("no answer from ", cluster, " after ", milliseconds, " ms: ", status);
#pragma once

#include "abi.h"
#include "text.h"

namespace proxy {

// Write a line of several pieces; a Status that says why it was not written is of use to nobody.
template <class... Pieces>
PROXY_INLINE inline void log(LogLevel level, const Pieces&... pieces) {
  if constexpr (sizeof...(pieces) == 1) {
    const Piece line(pieces...);  // as it is, without a copy
    abi::proxy_log(level, line.text().data(), line.text().size());
  } else {
    const String line = concat(pieces...);
    abi::proxy_log(level, line.data(), line.size());
  }
}

template <class... Pieces>
PROXY_INLINE inline void logTrace(const Pieces&... pieces) {
  log(LogLevel::Trace, pieces...);
}
template <class... Pieces>
PROXY_INLINE inline void logDebug(const Pieces&... pieces) {
  log(LogLevel::Debug, pieces...);
}
template <class... Pieces>
PROXY_INLINE inline void logInfo(const Pieces&... pieces) {
  log(LogLevel::Info, pieces...);
}
template <class... Pieces>
PROXY_INLINE inline void logWarn(const Pieces&... pieces) {
  log(LogLevel::Warn, pieces...);
}
template <class... Pieces>
PROXY_INLINE inline void logError(const Pieces&... pieces) {
  log(LogLevel::Error, pieces...);
}
template <class... Pieces>
PROXY_INLINE inline void logCritical(const Pieces&... pieces) {
  log(LogLevel::Critical, pieces...);
}

#if PROXY_ABI_NUMBER >= 21
// The lowest level that is written now, so that nobody puts together a line for nothing.
inline LogLevel logLevel() {
  auto level = LogLevel::Info;
  abi::proxy_get_log_level(&level);
  return level;
}
#endif

// Say why, and end the VM: for what cannot happen. Envoy answers as the plugin's failure policy says.
template <class... Pieces>
[[noreturn]] void fail(const Pieces&... pieces) {
  logCritical(pieces...);
  __builtin_trap();
}

}  // namespace proxy
