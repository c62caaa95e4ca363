// Lets so many requests through in each window of time, counted over all workers of an Envoy; the rest gets 429.
//
// The configuration is empty or JSON: {"requests": 100, "milliseconds": 1000}.

import {
  Headers, HeadersAction, HttpContext, JsonObject, RootContext, Status, StreamContext,
  currentTime, getSharedData, logError, register, responseHeaders, setSharedData,
} from "./proxy";

// The callbacks of this filter; "./proxy/exports" has them all, in a larger module.
export * from "./proxy/exports/plugin";
export * from "./proxy/exports/http";
export * from "./proxy/exports/timers";

const KEY = "rate-limit";
const SIZE = 16; // of a window there

function now(): u64 {
  return currentTime() / 1_000_000;
}

/** A member that is a whole number and at least 1; 0 if it is something else. */
function positive(json: JsonObject, name: string, missing: i64): u32 {
  const value = json.getInteger(name, missing);
  return value < 1 || value > <i64>u32.MAX_VALUE ? 0 : <u32>value;
}

/** The window as the workers share it. Whoever changes it says which version they have read, and is told if it is old. */
class Window {
  /** When its first request came, in milliseconds since 1970; 0 if there is no window. */
  start: u64 = 0;
  /** How many more requests it lets through. */
  left: u32 = 0;
  private version: u32 = 0;

  static read(): Window {
    const window = new Window();
    const data = getSharedData(KEY);
    if (!data) return window;
    window.version = data.cas;
    if (data.value.byteLength == SIZE) {
      const view = new DataView(data.value);
      window.start = view.getUint64(0, true);
      window.left = <u32>view.getUint64(8, true);
    }
    return window;
  }

  /** Share it; false if another worker has been faster. */
  write(): bool {
    const view = new DataView(new ArrayBuffer(SIZE));
    view.setUint64(0, this.start, true);
    view.setUint64(8, this.left, true);
    return setSharedData(KEY, view.buffer, this.version) != Status.CasMismatch;
  }
}

class RateLimitRoot extends RootContext {
  private requests: u32 = 100;
  private milliseconds: u32 = 1000;

  override onConfigure(configuration: string): bool {
    if (configuration.length > 0) {
      const json = JsonObject.parse(configuration);
      this.requests = json ? positive(json, "requests", 100) : 0;
      this.milliseconds = json ? positive(json, "milliseconds", 1000) : 0;
      if (this.requests == 0 || this.milliseconds == 0) {
        logError("the configuration is not a JSON object whose `requests` and `milliseconds` are whole and at least 1");
        return false;
      }
    }
    // From the first request on there is a version to compare. Envoy configures the filter once before it has workers.
    if (!getSharedData(KEY)) new Window().write();
    this.setTickPeriod(max(this.milliseconds / 10, 10));
    return true;
  }

  /** Takes a window that is over out of the shared data. Where it is late, a request sees that for itself. */
  override onTick(): void {
    const window = Window.read();
    if (window.start == 0 || !this.isOver(window)) return;
    window.start = 0;
    window.write();
  }

  private isOver(window: Window): bool {
    return now() >= window.start + this.milliseconds;
  }

  /** Take one of the window's requests: how many more it has then, or -1. */
  take(): i64 {
    while (true) {
      const window = Window.read();
      if (this.isOver(window)) {
        window.start = now();
        window.left = this.requests;
      }
      if (window.left == 0) return -1;
      window.left--;
      if (window.write()) return window.left;
    }
  }

  /** Whole seconds until the window is over. */
  wait(): u64 {
    const end = Window.read().start + this.milliseconds;
    const time = now();
    return end > time ? (end - time + 999) / 1000 : 1;
  }

  override createContext(id: u32): StreamContext {
    return new RateLimit(id, this);
  }
}

class RateLimit extends HttpContext {
  private remaining: string = "0";

  constructor(id: u32, private root: RateLimitRoot) {
    super(id);
  }

  override onRequestHeaders(count: u32, endOfStream: bool): HeadersAction {
    const left = this.root.take();
    if (left >= 0) {
      this.remaining = left.toString();
      return HeadersAction.Continue;
    }
    this.respond(429, "too many requests", new Headers().add("retry-after", this.root.wait().toString()));
    return HeadersAction.StopIteration;
  }

  /** Of the service's answer, and of our own. */
  override onResponseHeaders(count: u32, endOfStream: bool): HeadersAction {
    responseHeaders.set("x-ratelimit-remaining", this.remaining);
    return HeadersAction.Continue;
  }
}

register("rate_limit", (id: u32): RootContext => new RateLimitRoot(id));
