//! Asks a service before it lets a request through; README.md says what exactly.

mod json;

use log::{error, warn};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

#[no_mangle]
pub fn _start() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}

/// The service.
#[derive(Default)]
struct Service {
    cluster: String,
    path: String,
    authority: String,
}

impl Service {
    fn parse(configuration: &[u8]) -> json::Result<Service> {
        let members = json::Object::parse(configuration)?;
        Ok(Service {
            cluster: members.text(
                "cluster",
                "outbound|8080||auth-simple.istio.svc.cluster.local",
            )?,
            path: members.text("path", "/auth")?,
            authority: members.text("authority", "auth-simple:8080")?,
        })
    }
}

/// One per thread of Envoy.
#[derive(Default)]
struct Plugin {
    service: Rc<Service>,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Service::parse(&self.get_configuration().unwrap_or_default()) {
            Ok(service) => self.service = Rc::new(service),
            Err(problem) => {
                error!("the configuration is refused: {problem}");
                return false;
            }
        }
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Auth {
            service: self.service.clone(),
        }))
    }
}

/// One per request.
struct Auth {
    service: Rc<Service>,
}

impl Auth {
    /// Whether the service will answer: in `on_http_call_response`.
    fn ask(&self, user: &str) -> bool {
        let headers = vec![
            (":method", "GET"),
            (":path", &self.service.path),
            (":authority", &self.service.authority),
            ("userId", user),
        ];
        let cluster = &self.service.cluster;
        match self.dispatch_http_call(cluster, headers, None, vec![], TIMEOUT) {
            Ok(_) => true,
            Err(_) => {
                warn!("Envoy cannot call the cluster {cluster}");
                false
            }
        }
    }

    fn refuse(&self, words: &[u8]) {
        self.send_http_response(403, vec![], Some(words));
    }
}

impl HttpContext for Auth {
    fn on_http_request_headers(&mut self, _count: usize) -> Action {
        // Read as bytes: asked for as text, a header that is not UTF-8 would end the filter.
        let user = self
            .get_http_request_header_bytes("userId")
            .unwrap_or_default();
        let asked = match std::str::from_utf8(&user) {
            Ok(user) => self.ask(user),
            Err(_) => false,
        };
        if !asked {
            self.refuse(b"fail");
        }
        // The request waits for the service, or has been answered.
        Action::Pause
    }
}

impl Context for Auth {
    fn on_http_call_response(
        &mut self,
        _call: u32,
        headers: usize,
        body_size: usize,
        _trailers: usize,
    ) {
        // Without headers there is no answer, and nothing of it may be read.
        let is_ok = headers > 0
            && self
                .get_http_call_response_header_bytes(":status")
                .as_deref()
                == Some(b"200");
        let words = if is_ok {
            self.get_http_call_response_body(0, body_size)
        } else {
            None
        };
        match words.as_deref() {
            Some(b"ok") => self.resume_http_request(),
            Some(words) if !words.is_empty() => self.refuse(words),
            _ => self.refuse(b"fail"),
        }
    }
}
