//! Calls of clients: how many, how large, and how they ended, by method. The methods are those of the protocol, so there are no
//! more series than the protocol has methods and codes.

use std::collections::HashMap;
use std::sync::Arc;

use prost_reflect::DescriptorPool;
use tonic::Code;

use super::Counter;

/// Codes of gRPC: 0 to 16.
pub const CODES: usize = 17;

/// What is counted of a method.
#[derive(Debug)]
pub struct Method {
    /// Package and name of the service.
    pub service: String,
    /// Its own name.
    pub name: String,
    /// How messages flow, in the words of the Go library that everybody's dashboards are made for.
    pub kind: &'static str,
    /// Calls that began.
    pub started: Counter,
    /// Calls that ended, by code.
    pub handled: [Counter; CODES],
    /// Messages from clients.
    pub received: Counter,
    /// Messages to clients.
    pub sent: Counter,
}

impl Method {
    /// Whether there is one request and one answer.
    pub fn is_unary(&self) -> bool {
        self.kind == "unary"
    }

    /// A call has ended.
    pub fn ended(&self, code: Code) {
        self.handled[i32::from(code).unsigned_abs() as usize % CODES].one();
    }
}

/// All methods, by path.
#[derive(Debug)]
pub struct Calls {
    methods: HashMap<String, Arc<Method>>,
    /// Bytes of messages from clients.
    pub received_bytes: Counter,
    /// Bytes of messages to clients.
    pub sent_bytes: Counter,
}

impl Calls {
    /// Nothing counted yet.
    pub fn new(pool: &DescriptorPool) -> Self {
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let methods = methods.map(|method| {
            let service = method.parent_service().full_name().to_owned();
            let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                (false, false) => "unary",
                (true, false) => "client_stream",
                (false, true) => "server_stream",
                (true, true) => "bidi_stream",
            };
            let path = format!("/{service}/{}", method.name());
            let counted = Method {
                service,
                name: method.name().to_owned(),
                kind,
                started: Counter::default(),
                handled: Default::default(),
                received: Counter::default(),
                sent: Counter::default(),
            };
            (path, Arc::new(counted))
        });
        let methods = methods.collect();
        Self { methods, received_bytes: Counter::default(), sent_bytes: Counter::default() }
    }

    /// The method of a path.
    pub fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.methods.get(path)
    }

    /// All methods in order.
    pub fn methods(&self) -> Vec<&Arc<Method>> {
        let mut methods: Vec<_> = self.methods.values().collect();
        methods.sort_by(|one, other| (&one.service, &one.name).cmp(&(&other.service, &other.name)));
        methods
    }
}
