// Counts what passes through, in metrics that stand among Envoy's own.

#include "proxy/proxy.h"

using namespace proxy;

class Metrics : public RootContext {
 public:
  bool onConfigure(StringView configuration) {
    const StringView name = configuration.empty() ? "filter" : configuration;
    requests = Counter(concat(name, ".requests"));
    for (int first = 1; first <= 5; ++first) responses[first - 1] = Counter(concat(name, ".responses_", first, "xx"));
    inFlight = Gauge(concat(name, ".in_flight"));
    milliseconds = Histogram(concat(name, ".milliseconds"));
    return true;
  }

  Counter requests;
  Counter responses[5];  // 1xx to 5xx
  Gauge inFlight;
  Histogram milliseconds;
};

class MetricsStream : public HttpContext<Metrics> {
 public:
  HeadersAction onRequestHeaders(uint32_t, bool) {
    begun_ = currentTime();
    root().requests.increment();
    root().inFlight.add(1);
    return HeadersAction::Continue;
  }

  HeadersAction onResponseHeaders(uint32_t, bool) {
    const auto status = responseHeaders.get(":status");
    const unsigned index = status && !status->empty() ? static_cast<unsigned>((*status)[0] - '1') : 5;
    if (index < 5) root().responses[index].increment();
    return HeadersAction::Continue;
  }

  // Once for each request, however it has ended.
  void onLog() {
    if (!begun_) return;
    root().inFlight.add(-1);
    root().milliseconds.record((currentTime() - begun_) / 1000000);
  }

 private:
  uint64_t begun_ = 0;
};

PROXY_PLUGIN(Metrics, MetricsStream)
