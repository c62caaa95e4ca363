// Lets so many requests through in each window of time; the rest gets 429.
//
// All workers of an Envoy count in one value of its shared data, and each changes it only as long as nobody else has
// done so in between (compare and swap). A timer begins the next window.

#include "proxy/proxy.h"

using namespace proxy;

constexpr StringView kKey = "rate-limit";

// The shared value.
struct Window {
  uint64_t start = 0;  // milliseconds since 1970
  int64_t left = 0;    // how many requests may still go through
};

class RateLimit : public RootContext {
 public:
  bool onConfigure(StringView configuration) {
    if (!configuration.empty()) {
      JsonObject json(configuration);
      if (!json || !json.read("requests", requests) || !json.read("milliseconds", milliseconds) || requests < 1 ||
          milliseconds < 1 || milliseconds > UINT32_MAX) {
        logError("the configuration is not a JSON object of whole numbers of at least 1");
        return false;
      }
    }
    setTickPeriod(milliseconds < 100 ? 10 : static_cast<uint32_t>(milliseconds / 10));
    update([](Window&) { return true; });
    return true;
  }

  void onTick() {
    update([](Window&) { return false; });  // no change but for a window that is over
  }

  // The window as `change` has made it. A window that is over is followed by a new one first.
  template <class Change>
  Window update(Change change) {
    for (;;) {
      const auto data = getSharedData(kKey);
      const uint64_t now = currentTime() / 1000000;
      Window window;
      if (data && data->value.size() == sizeof window) __builtin_memcpy(&window, data->value.data(), sizeof window);
      const bool over = now >= window.start + static_cast<uint64_t>(milliseconds);
      if (over) window = {now, requests};
      if (!change(window) && !over) return window;
      const StringView bytes(reinterpret_cast<const char*>(&window), sizeof window);
      if (setSharedData(kKey, bytes, data ? data->cas : 0) != Status::CasMismatch) return window;
    }
  }

  int64_t requests = 100;
  int64_t milliseconds = 1000;
};

class RateLimitStream : public HttpContext<RateLimit> {
 public:
  HeadersAction onRequestHeaders(uint32_t, bool) {
    bool allowed = false;
    const Window window = root().update([&](Window& now) {
      allowed = now.left > 0;
      if (allowed) --now.left;
      return allowed;
    });
    remaining_ = window.left;
    if (allowed) return HeadersAction::Continue;

    const uint64_t end = window.start + static_cast<uint64_t>(root().milliseconds), now = currentTime() / 1000000;
    const uint64_t seconds = end > now ? (end - now + 999) / 1000 : 1;
    respond(429, "too many requests", {{"retry-after", concat(seconds)}});
    return HeadersAction::StopIteration;
  }

  // Also of our own answer.
  HeadersAction onResponseHeaders(uint32_t, bool) {
    responseHeaders.set("x-ratelimit-remaining", concat(remaining_));
    return HeadersAction::Continue;
  }

 private:
  int64_t remaining_ = 0;
};

PROXY_PLUGIN(RateLimit, RateLimitStream)
