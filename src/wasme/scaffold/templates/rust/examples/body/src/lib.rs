//! Rewrites the bodies of requests and responses; README.md says what exactly.

mod json;

use log::error;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}}

#[derive(Default)]
struct Words {
    find: String,
    replace: String,
}

impl Words {
    fn parse(configuration: &[u8]) -> json::Result<Words> {
        let members = json::Object::parse(configuration)?;
        let find = members.text("find", "hello")?;
        if find.is_empty() {
            return Err(json::Problem("find", "must not be empty"));
        }
        Ok(Words {
            find,
            replace: members.text("replace", "good day")?,
        })
    }

    /// Bodies are bytes, of whatever encoding.
    fn rewrite(&self, body: &[u8]) -> Vec<u8> {
        let find = self.find.as_bytes();
        let mut rewritten = Vec::with_capacity(body.len());
        let mut rest = body;
        while let Some((first, after)) = rest.split_first() {
            if let Some(after) = rest.strip_prefix(find) {
                rewritten.extend_from_slice(self.replace.as_bytes());
                rest = after;
            } else {
                rewritten.push(*first);
                rest = after;
            }
        }
        rewritten
    }
}

/// One per thread of Envoy.
#[derive(Default)]
struct Plugin {
    words: Rc<Words>,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Words::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(words) => self.words = Rc::new(words),
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
        Some(Box::new(Rewrite {
            words: self.words.clone(),
            request: false,
            response: false,
        }))
    }
}

/// One per request; it knows which of the two bodies it rewrites.
struct Rewrite {
    words: Rc<Words>,
    request: bool,
    response: bool,
}

/// Whether the words of a body can be read: a compressed one passes as it is.
fn is_plain(encoding: Option<Vec<u8>>) -> bool {
    encoding.map_or(true, |encoding| {
        encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity")
    })
}

impl Context for Rewrite {}

impl HttpContext for Rewrite {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.request =
            !end_of_stream && is_plain(self.get_http_request_header_bytes("content-encoding"));
        if self.request {
            self.remove_http_request_header("content-length");
        }
        Action::Continue
    }

    // Until its end is there, Envoy keeps the body; then it is read and written as a whole. Where trailers follow, that
    // end is theirs, and they may still change the body before them.
    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !self.request {
            return Action::Continue;
        }
        if !end_of_stream {
            return Action::Pause;
        }
        if let Some(body) = self.get_http_request_body(0, size) {
            self.set_http_request_body(0, size, &self.words.rewrite(&body));
        }
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.on_http_request_body(usize::MAX, true)
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.response =
            !end_of_stream && is_plain(self.get_http_response_header_bytes("content-encoding"));
        if self.response {
            self.remove_http_response_header("content-length");
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !self.response {
            return Action::Continue;
        }
        if !end_of_stream {
            return Action::Pause;
        }
        if let Some(body) = self.get_http_response_body(0, size) {
            self.set_http_response_body(0, size, &self.words.rewrite(&body));
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.on_http_response_body(usize::MAX, true)
    }
}
