//! Limits how many requests pass in a window of time; README.md says what exactly.

mod json;

use log::error;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::convert::TryInto;
use std::time::{Duration, UNIX_EPOCH};

/// The name in Envoy's shared data; all workers of a VM share it.
const KEY: &str = "rate-limit";

#[no_mangle]
pub fn _start() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}

#[derive(Clone, Copy, Default)]
struct Limit {
    requests: u64,
    milliseconds: u64,
}

impl Limit {
    fn parse(configuration: &[u8]) -> json::Result<Limit> {
        let members = json::Object::parse(configuration)?;
        let requests = members.whole("requests", 100)?.into();
        let milliseconds = members.whole("milliseconds", 1000)?.into();
        if requests == 0 || milliseconds == 0 {
            return Err(json::Problem("each number", "must be at least 1"));
        }
        Ok(Limit {
            requests,
            milliseconds,
        })
    }
}

/// A window of time: when its first request came, in milliseconds since 1970, and how many more it lets through.
/// The default is none.
#[derive(Clone, Copy, Default)]
struct Window {
    start: u64,
    left: u64,
}

impl Window {
    fn decode(data: &[u8]) -> Option<Window> {
        let (start, left) = (data.get(..8)?, data.get(8..)?);
        Some(Window {
            start: u64::from_le_bytes(start.try_into().ok()?),
            left: u64::from_le_bytes(left.try_into().ok()?),
        })
    }

    fn encode(self) -> Vec<u8> {
        [self.start.to_le_bytes(), self.left.to_le_bytes()].concat()
    }

    /// Milliseconds; 0 where it is over.
    fn ends_in(self, limit: Limit, now: u64) -> u64 {
        self.start
            .saturating_add(limit.milliseconds)
            .saturating_sub(now)
    }
}

fn now(context: &dyn Context) -> u64 {
    let since = context
        .get_current_time()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis() as u64
}

/// Shares the window that `change` has changed, if it says so, and asks it anew where another worker was faster.
/// Returns what it said at last, and the window.
fn update(context: &dyn Context, change: impl Fn(&mut Window) -> bool) -> (bool, Window) {
    loop {
        let (data, version) = context.get_shared_data(KEY);
        let mut window = data
            .and_then(|data| Window::decode(&data))
            .unwrap_or_default();
        if !change(&mut window) {
            return (false, window);
        }
        let shared = context.set_shared_data(KEY, Some(&window.encode()), version);
        if shared.is_ok() {
            return (true, window);
        }
    }
}

/// One per thread of Envoy.
#[derive(Default)]
struct Plugin {
    limit: Limit,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Limit::parse(&self.get_configuration().unwrap_or_default()) {
            Ok(limit) => self.limit = limit,
            Err(problem) => {
                error!("the configuration is refused: {problem}");
                return false;
            }
        }
        // From the first request on there is a version to compare: Envoy configures its main thread's copy before those
        // of the workers.
        update(self, |window| window.start == 0);
        self.set_tick_period(Duration::from_millis(
            (self.limit.milliseconds / 10).max(10),
        ));
        true
    }

    /// Takes a window that is over out of the shared data. Where it is late, a request sees that for itself.
    fn on_tick(&mut self) {
        update(self, |window| {
            let ends = window.start > 0 && window.ends_in(self.limit, now(self)) == 0;
            if ends {
                *window = Window::default();
            }
            ends
        });
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(RateLimit {
            limit: self.limit,
            remaining: 0,
        }))
    }
}

/// One per request.
struct RateLimit {
    limit: Limit,
    remaining: u64,
}

impl Context for RateLimit {}

impl HttpContext for RateLimit {
    fn on_http_request_headers(&mut self, _count: usize) -> Action {
        let (passes, window) = update(self, |window| {
            if window.ends_in(self.limit, now(self)) == 0 {
                *window = Window {
                    start: now(self),
                    left: self.limit.requests,
                };
            }
            let passes = window.left > 0;
            window.left -= u64::from(passes);
            passes
        });
        self.remaining = window.left;
        if passes {
            return Action::Continue;
        }
        // At least 1: the window may have ended just now.
        let seconds = ((window.ends_in(self.limit, now(self)) + 999) / 1000).max(1);
        self.send_http_response(
            429,
            vec![("retry-after", &seconds.to_string())],
            Some(b"too many requests"),
        );
        Action::Pause
    }

    // Envoy comes here with the 429 too.
    fn on_http_response_headers(&mut self, _count: usize) -> Action {
        self.set_http_response_header("x-ratelimit-remaining", Some(&self.remaining.to_string()));
        Action::Continue
    }
}
