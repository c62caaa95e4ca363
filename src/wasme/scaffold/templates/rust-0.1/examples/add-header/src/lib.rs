//! Adds a header to every response; README.md says what exactly.

mod json;

use log::error;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;

#[no_mangle]
pub fn _start() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}

#[derive(Default)]
struct Header {
    name: String,
    value: Vec<u8>,
}

impl Header {
    /// What begins like JSON must be JSON; any other configuration is the value itself.
    fn parse(configuration: &[u8]) -> json::Result<Header> {
        let first = configuration.iter().find(|byte| !b" \t\r\n".contains(byte));
        match first.or(configuration.first()) {
            None | Some(b'{') => {
                let members = json::Object::parse(configuration)?;
                Ok(Header {
                    name: members.text("header", "hello")?,
                    value: members.text("value", "world")?.into_bytes(),
                })
            }
            Some(_) => Ok(Header {
                name: "hello".to_string(),
                value: configuration.to_vec(),
            }),
        }
    }
}

/// One per thread of Envoy.
#[derive(Default)]
struct Plugin {
    header: Rc<Header>,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Header::parse(&self.get_configuration().unwrap_or_default()) {
            Ok(header) => self.header = Rc::new(header),
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
        Some(Box::new(AddHeader {
            header: self.header.clone(),
        }))
    }
}

/// One per request.
struct AddHeader {
    header: Rc<Header>,
}

impl Context for AddHeader {}

impl HttpContext for AddHeader {
    fn on_http_response_headers(&mut self, _count: usize) -> Action {
        self.add_http_response_header_bytes(&self.header.name, &self.header.value);
        Action::Continue
    }
}
