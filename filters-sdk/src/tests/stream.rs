//! Filters of raw connections as an author sees them, against the host double.

use core::cell::RefCell;

use crate::runtime::{Http, Raw, Runtime};
use crate::testing::StreamInstance;
use crate::{
    Answer, ClosedBy, ConfigError, Connection, Data, Filter, Flow, HttpCall, NoConfig, Reply,
    Request, StreamFilter, StreamFlow,
};

/// Asks a cluster about every connection, marks what passes, and closes on "bad".
#[derive(Default)]
struct Gate {
    told: RefCell<Vec<String>>,
}

#[penstock::filter]
impl StreamFilter for Gate {
    type State = u32;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    fn on_connect(&self, connection: &mut Connection<'_, u32>) -> StreamFlow {
        let who = connection.source_ip().map(|ip| ip.to_string()).unwrap_or_default();
        match connection.call(&HttpCall::get("auth", "/check").header("x-who", who)) {
            Ok(_) => StreamFlow::Wait,
            Err(_) => StreamFlow::Close,
        }
    }

    fn on_reply(&self, _: &mut Connection<'_, u32>, reply: &Reply<'_>) -> StreamFlow {
        if reply.is_success() { StreamFlow::Continue } else { StreamFlow::Close }
    }

    fn on_downstream(&self, data: &mut Data<'_, u32>, end: bool) -> StreamFlow {
        *data.connection.state += 1;
        if data.bytes().starts_with(b"bad") {
            return StreamFlow::Close;
        }
        if end { StreamFlow::Continue } else { self.whole_lines(data) }
    }

    fn on_upstream(&self, data: &mut Data<'_, u32>, _: bool) -> StreamFlow {
        data.prepend("> ");
        data.append("!");
        StreamFlow::Continue
    }

    fn on_downstream_close(&self, connection: &mut Connection<'_, u32>, by: ClosedBy) {
        self.told.borrow_mut().push(format!("down {by:?} {}", connection.state));
    }

    fn on_upstream_close(&self, _: &mut Connection<'_, u32>, by: ClosedBy) {
        self.told.borrow_mut().push(format!("up {by:?}"));
    }

    fn on_log(&self, connection: &mut Connection<'_, u32>) {
        let name = connection.server_name().unwrap_or("nobody").to_owned();
        crate::info!("{} for {name}", self.told.borrow().join(", "));
    }
}

impl Gate {
    fn whole_lines(&self, data: &Data<'_, u32>) -> StreamFlow {
        match data.bytes().ends_with(b"\n") {
            true => StreamFlow::Continue,
            false => StreamFlow::Wait,
        }
    }
}

fn gate() -> StreamInstance<Gate> {
    let gate = StreamInstance::<Gate>::new("{}").unwrap();
    gate.set_property(&["source", "address"], "192.0.2.7:4711");
    gate
}

#[test]
fn a_connection_waits_for_its_reply_whatever_its_bytes_are_told() {
    let gate = gate();
    let mut connection = gate.connect();
    assert!(connection.waits());
    let [call] = &gate.calls()[..] else { panic!("one call") };
    assert_eq!(
        (&*call.to_string(), call.header("x-who").as_deref()),
        ("auth GET /check", Some("192.0.2.7"))
    );
    connection.downstream("HELLO\n", false);
    assert!(connection.waits(), "the reply decides");
    gate.reply(204, &[], "");
    assert_eq!((connection.went_on(), connection.passed()), (true, b"HELLO\n".to_vec()));
    connection.downstream("MAIL", false);
    assert!(connection.waits() && connection.passed().is_empty());
    connection.downstream(" FROM\n", false);
    assert_eq!(connection.passed(), b"MAIL FROM\n");
    connection.upstream("250", false);
    assert_eq!(connection.passed(), b"> 250!");
    gate.set_property(&["connection", "requested_server_name"], "mail.example");
    connection.close(ClosedBy::Peer, ClosedBy::Unknown);
    assert_eq!(gate.lines(), ["info: up Unknown, down Peer 3 for mail.example"]);
}

#[test]
fn a_connection_is_closed_by_a_reply_by_bytes_or_at_once() {
    let gate = gate();
    let connection = gate.connect();
    gate.fail_call();
    assert!(connection.is_closed() && !connection.went_on() && !connection.waits());
    let mut connection = gate.connect();
    gate.reply(200, &[], "");
    connection.downstream("bad", false);
    assert!(connection.is_closed());
    gate.set_clusters(&["other"]);
    assert!(gate.connect().is_closed());
}

/// Keeps nothing of what it holds.
struct Asks;

#[penstock::filter]
impl Filter for Asks {
    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_request(&self, request: &mut Request<'_>) -> Flow {
        request.call(&HttpCall::get("auth", "/")).map_or(Flow::Continue, |_| Flow::Wait)
    }

    fn on_reply(&self, _: &mut Request<'_>, reply: &Reply<'_>) -> Flow {
        if reply.is_success() { Flow::Continue } else { Answer::new(403).into() }
    }
}

/// The same of connections.
struct AsksToo;

#[penstock::filter]
impl StreamFilter for AsksToo {
    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_connect(&self, connection: &mut Connection<'_>) -> StreamFlow {
        match connection.call(&HttpCall::get("auth", "/")) {
            Ok(_) => StreamFlow::Wait,
            Err(_) => StreamFlow::Close,
        }
    }
}

/// Streams come and go whose host tells of neither, for the filters have no state.
#[test]
fn what_waited_is_forgotten_where_no_host_tells_of_the_end() {
    crate::sys::native::with(|double| *double = Default::default());
    let (exchanges, connections) = (Runtime::<Http<Asks>>::new(), Runtime::<Raw<AsksToo>>::new());
    exchanges.on_context_create(1, 0);
    exchanges.configure(1, b"{}").unwrap();
    connections.on_context_create(1, 0);
    connections.configure(1, b"{}").unwrap();
    let enter = |id: u32| {
        crate::sys::native::with(|double| {
            double.context = id;
            double.streams.insert(id, Default::default());
        });
    };
    let calls = || crate::sys::native::with(|double| double.calls.pop().expect("it called").id);
    for id in 2..100 {
        enter(id);
        exchanges.on_request_headers(id, true);
        // A reply that failed is answered, and is the end of the wait all the same.
        exchanges.on_http_call_response(calls(), (id as usize) % 2, 0);
        assert_eq!(exchanges.remembered(), 0, "exchange {id}");
        enter(id);
        connections.on_new_connection(id);
        assert_eq!(connections.remembered(), 1);
        connections.on_http_call_response(calls(), 1, 0);
        assert_eq!(connections.remembered(), 0, "connection {id}");
    }
}
