// Lets so many requests through in each window of time; the rest gets 429.
//
// A window begins with its first request. All workers of an Envoy count in one value of its shared data, and each
// changes it only as long as nobody else has done so in between (compare and swap).

#include "proxy/proxy.h"

using namespace proxy;

constexpr StringView kKey = "rate-limit";

// The shared value.
struct Window {
  uint64_t start = 0;  // when its first request came, in milliseconds since 1970; 0 if there is no window
  int64_t left = 0;    // how many requests may still go through
};

uint64_t now() { return currentTime() / 1000000; }

class RateLimit : public RootContext {
 public:
  bool onConfigure(StringView configuration) {
    if (!configuration.empty()) {
      JsonObject json(configuration);
      if (!json || !json.read("requests", requests) || !json.read("milliseconds", milliseconds) || requests < 1 ||
          requests > UINT32_MAX || milliseconds < 1 || milliseconds > UINT32_MAX) {
        logError("the configuration is not a JSON object of whole numbers from 1 to 4294967295");
        return false;
      }
    }
    setTickPeriod(milliseconds < 100 ? 10 : static_cast<uint32_t>(milliseconds / 10));
    // From the first request on there is a value to compare: Envoy configures the filter once before it has workers.
    update([](Window& window) { return window.start == 0; });
    return true;
  }

  // Takes a window that is over out of the shared data. Where it is late, a request sees that for itself.
  void onTick() {
    update([&](Window& window) {
      if (window.start == 0 || now() < end(window)) return false;
      window = {};
      return true;
    });
  }

  uint64_t end(const Window& window) const { return window.start + static_cast<uint64_t>(milliseconds); }

  // The window as `change` has left it, shared if it returns true; called again if another worker has been faster.
  template <class Change>
  Window update(Change change) {
    for (;;) {
      const auto data = getSharedData(kKey);
      Window window;
      if (data && data->value.size() == sizeof window) __builtin_memcpy(&window, data->value.data(), sizeof window);
      if (!change(window)) return window;
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
    const Window window = root().update([&](Window& shared) {
      if (now() >= root().end(shared)) shared = {now(), root().requests};
      allowed = shared.left > 0;
      if (allowed) --shared.left;
      return allowed;
    });
    remaining_ = window.left;
    if (allowed) return HeadersAction::Continue;

    const uint64_t end = root().end(window), time = now();
    const uint64_t seconds = end > time ? (end - time + 999) / 1000 : 1;
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
