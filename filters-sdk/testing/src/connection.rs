//! One raw connection on its way through the host.

use std::task::{Context, Poll, Waker};

use penstock_filter_host::abi::PeerType;
use penstock_filter_host::testing::FakeSession;
use penstock_filter_host::{
    Callout, CalloutFailure, Chain, Event, Flow, GrpcEvent, Half, LocalResponse,
};

use crate::{FilterTest, response};

/// A client's connection in a filter's hands.
///
/// What happens to it and what is expected of it are written one after the other.
pub struct Connection<'t> {
    test: &'t FilterTest,
    session: FakeSession,
    chain: Chain,
    said: Fate,
    /// Bytes that have passed: towards the endpoint, and towards the client.
    passed: [Vec<u8>; 2],
    calls: Vec<Callout>,
    fuel_before: u64,
}

/// What the filter said last of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// What it was shown goes on.
    Continue,
    /// The filter holds it.
    Wait,
    /// The filter closed the connection.
    Close,
    /// The filter failed, and its policy is to deny.
    Failed(Box<LocalResponse>),
}

impl<'t> Connection<'t> {
    #[track_caller]
    pub(crate) fn open(test: &'t FilterTest) -> Self {
        let harness = test.harness();
        let mut connection = Self {
            test,
            session: test.session(&[]),
            chain: harness.connection(),
            said: Fate::Continue,
            passed: Default::default(),
            calls: Vec::new(),
            fuel_before: harness.fuel_used(),
        };
        let flow = connection.chain.new_connection(&mut connection.session);
        connection.obey(Half::Downstream, flow, Vec::new());
        connection
    }

    /// Bytes come from the client; `end` if they are the last.
    pub fn downstream(self, bytes: impl AsRef<[u8]>, end: bool) -> Self {
        self.show(Half::Downstream, bytes.as_ref(), end)
    }

    /// Bytes come from the endpoint; `end` if they are the last.
    pub fn upstream(self, bytes: impl AsRef<[u8]>, end: bool) -> Self {
        self.show(Half::Upstream, bytes.as_ref(), end)
    }

    fn show(mut self, half: Half, bytes: &[u8], end: bool) -> Self {
        let mut bytes = bytes.to_vec();
        let flow = self.chain.data(half, &mut self.session, &mut bytes, end);
        self.obey(half, flow, bytes);
        self
    }

    /// Replies to the oldest callout of this connection.
    #[track_caller]
    pub fn reply(self, status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let reply = response(status, fields, body.as_ref());
        self.deliver(|chain, session, call| chain.answer(session, call, Ok(&reply)))
    }

    /// Has the oldest callout of this connection fail.
    #[track_caller]
    pub fn fail_call(self) -> Self {
        let failure = CalloutFailure::Unreachable;
        self.deliver(|chain, session, call| chain.answer(session, call, Err(failure)))
    }

    /// The one message or the end comes on the oldest call, which is one by gRPC.
    #[track_caller]
    pub fn grpc(self, event: &GrpcEvent) -> Self {
        self.deliver(|chain, session, call| chain.hear(session, (call.link, call.token), event))
    }

    #[track_caller]
    fn deliver(mut self, bring: impl FnOnce(&mut Chain, &mut FakeSession, &Callout)) -> Self {
        assert!(!self.calls.is_empty(), "no call waits for a reply");
        let call = self.calls.remove(0);
        bring(&mut self.chain, &mut self.session, &call);
        self.collect();
        self
    }

    /// What a timer, or another connection, did to this one.
    pub fn look(mut self) -> Self {
        self.collect();
        self
    }

    /// Both sides are closed: the filter's last callbacks.
    pub fn close(mut self, downstream: PeerType, upstream: PeerType) {
        self.chain.closed(Half::Upstream, &mut self.session, upstream);
        self.chain.closed(Half::Downstream, &mut self.session, downstream);
    }

    /// The filter let go what it was shown.
    #[track_caller]
    pub fn expect_continue(self) -> Self {
        self.expect(&Fate::Continue)
    }

    /// The filter holds it.
    #[track_caller]
    pub fn expect_wait(self) -> Self {
        self.expect(&Fate::Wait)
    }

    /// The filter closed the connection.
    #[track_caller]
    pub fn expect_close(self) -> Self {
        self.expect(&Fate::Close)
    }

    #[track_caller]
    fn expect(self, fate: &Fate) -> Self {
        assert_eq!(self.said, *fate);
        self
    }

    /// The filter failed, and the connection is reset for that; `cause` is what it failed by.
    #[track_caller]
    pub fn expect_failure(self, cause: &str) -> Self {
        match &self.said {
            Fate::Failed(response) => assert_eq!(response.details, cause),
            other => panic!("the filter said {other:?}"),
        }
        self
    }

    /// This much has gone on to the endpoint so far.
    #[track_caller]
    pub fn expect_sent_upstream(self, bytes: impl AsRef<[u8]>) -> Self {
        let found = String::from_utf8_lossy(self.sent_upstream());
        assert_eq!(found, String::from_utf8_lossy(bytes.as_ref()));
        self
    }

    /// This much has gone on to the client so far.
    #[track_caller]
    pub fn expect_sent_downstream(self, bytes: impl AsRef<[u8]>) -> Self {
        let found = String::from_utf8_lossy(self.sent_downstream());
        assert_eq!(found, String::from_utf8_lossy(bytes.as_ref()));
        self
    }

    /// The filter has called this cluster for this path.
    #[track_caller]
    pub fn expect_call(self, cluster: &str, path: &str) -> Self {
        let call = self.calls.first().expect("the filter has made no call");
        let found = (&*call.cluster, call.headers.value(b":path"));
        assert_eq!(found, (cluster, Some(path.as_bytes())));
        self
    }

    /// What the filter said last.
    pub fn fate(&self) -> &Fate {
        &self.said
    }

    /// What has gone on to the endpoint.
    pub fn sent_upstream(&self) -> &[u8] {
        &self.passed[Half::Downstream as usize]
    }

    /// What has gone on to the client.
    pub fn sent_downstream(&self) -> &[u8] {
        &self.passed[Half::Upstream as usize]
    }

    /// The calls of this connection that wait for a reply, oldest first.
    pub fn calls(&self) -> &[Callout] {
        &self.calls
    }

    /// Fuel that the filter has used for the connection so far; 0 after it failed.
    pub fn fuel_used(&self) -> u64 {
        self.test.fuel_used().saturating_sub(self.fuel_before)
    }

    /// Does what the chain says, and then what happens by itself.
    fn obey(&mut self, half: Half, flow: Flow, mut bytes: Vec<u8>) {
        self.said = match flow {
            Flow::Continue => {
                self.passed[half as usize].append(&mut bytes);
                Fate::Continue
            }
            Flow::Pause => Fate::Wait,
            Flow::Respond(response) => Fate::Failed(response),
            Flow::Close => Fate::Close,
        };
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(call) = self.chain.callout() {
            self.calls.push(call);
        }
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(event) = self.chain.poll_event(&mut context) {
            let half = match event {
                Event::ResumeRequest => Half::Downstream,
                Event::ResumeResponse => Half::Upstream,
                Event::Respond(response) => return self.said = Fate::Failed(response),
                Event::Close => return self.said = Fate::Close,
                Event::Callout(call) => {
                    self.calls.push(call);
                    continue;
                }
            };
            let mut bytes = Vec::new();
            let flow = self.chain.go_on(half, &mut self.session, &mut bytes);
            return self.obey(half, flow, bytes);
        }
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.chain.finish(&mut self.session);
    }
}
