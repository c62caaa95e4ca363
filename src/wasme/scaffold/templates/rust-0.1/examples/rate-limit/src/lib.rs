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
        let requests = members.whole("requests", 100)?;
        let milliseconds = members.whole("milliseconds", 1000)?;
        if requests == 0 || milliseconds == 0 {
            return Err(json::Problem("each number", "must be at least 1"));
        }
        Ok(Limit {
            requests,
            milliseconds,
        })
    }
}

/// A window of time: when its first request came, in milliseconds since 1970 (0 where none has come), and how many more
/// it lets through.
#[derive(Clone, Copy, PartialEq)]
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

    fn is_open(self, limit: Limit, now: u64) -> bool {
        self.start > 0 && self.ends_in(limit, now) > 0
    }

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

/// Changes the window, if `change` wants another; begins again where another worker was faster. Returns what it was.
fn update(
    context: &dyn Context,
    change: impl Fn(Option<Window>) -> Option<Window>,
) -> Option<Window> {
    loop {
        let (data, version) = context.get_shared_data(KEY);
        let before = data.and_then(|data| Window::decode(&data));
        match change(before) {
            Some(after)
                if context
                    .set_shared_data(KEY, Some(&after.encode()), version)
                    .is_err() => {}
            _ => return before,
        }
    }
}

/// One per thread of Envoy.
#[derive(Default)]
struct Plugin {
    limit: Limit,
}

impl Plugin {
    /// Lays out a fresh window where there is none, or where the last one is over: of all workers only the first does.
    fn begin_window(&self) {
        let now = now(self);
        let fresh = Window {
            start: 0,
            left: self.limit.requests,
        };
        update(self, |window| match window {
            Some(window) if window == fresh || window.is_open(self.limit, now) => None,
            _ => Some(fresh),
        });
    }
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
        // Envoy configures its main thread's copy before those of the workers, so nobody counts yet.
        self.begin_window();
        self.set_tick_period(Duration::from_millis(
            (self.limit.milliseconds / 10).max(10),
        ));
        true
    }

    fn on_tick(&mut self) {
        self.begin_window();
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
        let now = now(self);
        let window = update(self, |window| {
            let window = window.filter(|window| window.left > 0)?;
            let start = if window.start == 0 { now } else { window.start };
            let left = window.left - 1;
            Some(Window { start, left })
        });
        match window {
            Some(Window { left, .. }) if left > 0 => {
                self.remaining = left - 1;
                Action::Continue
            }
            _ => {
                let wait = window.map_or(0, |window| window.ends_in(self.limit, now));
                let seconds = ((wait + 999) / 1000).max(1).to_string();
                self.send_http_response(
                    429,
                    vec![("retry-after", &seconds)],
                    Some(b"too many requests"),
                );
                Action::Pause
            }
        }
    }

    // Envoy comes here with the 429 too.
    fn on_http_response_headers(&mut self, _count: usize) -> Action {
        self.set_http_response_header("x-ratelimit-remaining", Some(&self.remaining.to_string()));
        Action::Continue
    }
}
