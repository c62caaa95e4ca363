// Counts requests, answers and what is in flight, and keeps how long requests take.
//
// The configuration is the first word of the metrics' names, or empty for `filter`.

import {
  Counter, Gauge, HeadersAction, Histogram, HttpContext, RootContext, StreamContext,
  currentTime, register, responseHeaders,
} from "./proxy";

// The callbacks of this filter; "./proxy/exports" has them all, in a larger module.
export * from "./proxy/exports/plugin";
export * from "./proxy/exports/http";

class Metrics {
  readonly requests: Counter;
  readonly responses: Array<Counter> = [];
  readonly inFlight: Gauge;
  readonly milliseconds: Histogram;

  constructor(word: string) {
    this.requests = new Counter(word + ".requests");
    this.inFlight = new Gauge(word + ".in_flight");
    this.milliseconds = new Histogram(word + ".milliseconds");
    for (let hundreds = 1; hundreds <= 5; hundreds++) {
      this.responses.push(new Counter(word + ".responses_" + hundreds.toString() + "xx"));
      this.responses[hundreds - 1].define();
    }
    this.requests.define();
    this.inFlight.define();
    this.milliseconds.define();
  }
}

class MetricsRoot extends RootContext {
  metrics: Metrics | null = null;

  override onConfigure(configuration: string): bool {
    this.metrics = new Metrics(configuration.length > 0 ? configuration : "filter");
    return true;
  }

  override createContext(id: u32): StreamContext {
    return new Request(id, this.metrics!);
  }
}

class Request extends HttpContext {
  private began: u64 = 0;

  constructor(id: u32, private metrics: Metrics) {
    super(id);
  }

  override onRequestHeaders(count: u32, endOfStream: bool): HeadersAction {
    this.began = currentTime();
    this.metrics.requests.increment();
    this.metrics.inFlight.add(1);
    return HeadersAction.Continue;
  }

  override onResponseHeaders(count: u32, endOfStream: bool): HeadersAction {
    const status = responseHeaders.get(":status");
    const hundreds = status ? status.charCodeAt(0) - 48 : 0;
    if (hundreds >= 1 && hundreds <= 5) this.metrics.responses[hundreds - 1].increment();
    return HeadersAction.Continue;
  }

  /** Whichever way a request ends, this comes once; also for one that ended before its headers were here. */
  override onLog(): void {
    if (this.began == 0) return;
    this.metrics.inFlight.add(-1);
    this.metrics.milliseconds.record((currentTime() - this.began) / 1_000_000);
  }
}

register("metrics", (id: u32): RootContext => new MetricsRoot(id));
