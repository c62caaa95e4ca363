// Metrics. They appear in Envoy's statistics as wasmcustom.NAME. One is defined in the host when it is first used, so
// it may be a constant of the module: `const requests = new Counter("my_filter.requests")`.

import {
  MetricType, Status,
  proxy_define_metric, proxy_get_metric, proxy_increment_metric, proxy_record_metric,
} from "./abi";
import { OUT, address, utf8 } from "./memory";

/** What the three kinds share. */
abstract class Metric {
  private handle: u32 = 0;
  private defined: bool = false;

  constructor(private type: MetricType, readonly name: string) {}

  /** The host's number for it. */
  get id(): u32 {
    if (!this.defined) {
      const n = utf8(this.name);
      this.defined = proxy_define_metric(this.type, address(n), n.byteLength, OUT) == Status.Ok;
      this.handle = this.defined ? load<u32>(OUT) : 0xffffffff;
    }
    return this.handle;
  }

  /** Define it now: it then stands in the statistics, as 0, before anything has been counted. */
  define(): void {
    this.id;
  }
}

/** A number that only grows. */
export class Counter extends Metric {
  constructor(name: string) { super(MetricType.Counter, name); }
  increment(by: i64 = 1): Status { return proxy_increment_metric(this.id, by); }
  value(): u64 { return proxy_get_metric(this.id, OUT) == Status.Ok ? load<u64>(OUT) : 0; }
}

/** A number that goes up and down. */
export class Gauge extends Metric {
  constructor(name: string) { super(MetricType.Gauge, name); }
  add(by: i64): Status { return proxy_increment_metric(this.id, by); }
  set(value: u64): Status { return proxy_record_metric(this.id, value); }
  value(): u64 { return proxy_get_metric(this.id, OUT) == Status.Ok ? load<u64>(OUT) : 0; }
}

/** A distribution: Envoy keeps its quantiles. */
export class Histogram extends Metric {
  constructor(name: string) { super(MetricType.Histogram, name); }
  record(value: u64): Status { return proxy_record_metric(this.id, value); }
}
