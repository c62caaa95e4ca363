//! Counts what passes through it; README.md says what exactly.

use log::error;
use proxy_wasm::hostcalls::{define_metric, increment_metric, record_metric};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType};
use std::rc::Rc;
use std::time::SystemTime;

#[no_mangle]
pub fn _start() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}

/// The numbers under which Envoy knows the metrics.
#[derive(Default)]
struct Metrics {
    requests: u32,
    responses: [u32; 5], // 1xx to 5xx
    in_flight: u32,
    milliseconds: u32,
}

impl Metrics {
    fn define(prefix: &str) -> Option<Metrics> {
        let define = |kind, name: &str| define_metric(kind, &format!("{prefix}.{name}")).ok();
        let mut responses = [0; 5];
        for (class, id) in (1..).zip(&mut responses) {
            *id = define(MetricType::Counter, &format!("responses_{class}xx"))?;
        }
        Some(Metrics {
            requests: define(MetricType::Counter, "requests")?,
            responses,
            in_flight: define(MetricType::Gauge, "in_flight")?,
            milliseconds: define(MetricType::Histogram, "milliseconds")?,
        })
    }
}

/// Envoy refuses only numbers that it has not given out.
fn add(metric: u32, offset: i64) {
    let _ = increment_metric(metric, offset);
}

/// One per thread of Envoy; the numbers are the same in all of them.
#[derive(Default)]
struct Plugin {
    metrics: Rc<Metrics>,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = self.get_configuration().unwrap_or_default();
        let metrics = match std::str::from_utf8(&configuration) {
            Ok("") => Metrics::define("filter"),
            Ok(prefix) => Metrics::define(prefix),
            Err(_) => None,
        };
        if let Some(metrics) = metrics {
            self.metrics = Rc::new(metrics);
            return true;
        }
        error!("the configuration is refused: it cannot begin the name of a metric");
        false
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Count {
            metrics: self.metrics.clone(),
            begun: None,
        }))
    }
}

/// One per request.
struct Count {
    metrics: Rc<Metrics>,
    begun: Option<SystemTime>,
}

impl Context for Count {}

impl HttpContext for Count {
    fn on_http_request_headers(&mut self, _count: usize) -> Action {
        self.begun = Some(self.get_current_time());
        add(self.metrics.requests, 1);
        add(self.metrics.in_flight, 1);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize) -> Action {
        if let Some([class @ b'1'..=b'5', ..]) =
            self.get_http_response_header_bytes(":status").as_deref()
        {
            add(self.metrics.responses[usize::from(class - b'1')], 1);
        }
        Action::Continue
    }

    // Envoy calls this once for each request, however it ends; one without headers has never been counted.
    fn on_log(&mut self) {
        if let Some(begun) = self.begun.take() {
            add(self.metrics.in_flight, -1);
            let took = self
                .get_current_time()
                .duration_since(begun)
                .unwrap_or_default();
            let _ = record_metric(self.metrics.milliseconds, took.as_millis() as u64);
        }
    }
}
