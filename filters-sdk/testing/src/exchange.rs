//! One request and its response on their way through the host.

use std::task::{Context, Poll, Waker};

use penstock_filter_host::abi::MapType;
use penstock_filter_host::testing::{FakeSession, Fields};
use penstock_filter_host::{
    Callout, CalloutFailure, Chain, Event, Flow, GrpcEvent, LocalResponse, PairList, Sending,
    Session,
};

use crate::{FilterTest, response};

/// A request (and, after [`respond`](Self::respond), its response) in a filter's hands.
///
/// What happens to it and what is expected of it are written one after the other.
pub struct Exchange<'t> {
    test: &'t FilterTest,
    session: FakeSession,
    chain: Chain,
    /// What the filter said last.
    said: Said,
    /// Body bytes that have passed, of the request and of the response.
    passed: [Vec<u8>; 2],
    half: Half,
    calls: Vec<Callout>,
    fuel_before: u64,
}

/// What the filter said last, for those who report instead of assert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'e> {
    /// The message goes on.
    Continue,
    /// The filter holds the message back.
    Wait,
    /// The filter answers by itself.
    Answer(&'e LocalResponse),
    /// The exchange is cut.
    Close,
}

#[derive(Debug)]
enum Said {
    Continue,
    Wait,
    Answer(Box<LocalResponse>),
    Close,
}

#[derive(Clone, Copy)]
enum Half {
    Request = 0,
    Response = 1,
}

impl<'t> Exchange<'t> {
    #[track_caller]
    pub(crate) fn open(test: &'t FilterTest, fields: &[(&str, &str)], end: bool) -> Self {
        let harness = test.harness();
        let mut exchange = Self {
            test,
            session: test.session(fields),
            chain: harness.chain(),
            said: Said::Continue,
            passed: [Vec::new(), Vec::new()],
            half: Half::Request,
            calls: Vec::new(),
            fuel_before: harness.fuel_used(),
        };
        let flow = exchange.chain.request_headers(&mut exchange.session, end);
        exchange.obey(flow, Vec::new());
        exchange
    }

    /// A part of the request's body comes.
    pub fn request_body(mut self, bytes: impl AsRef<[u8]>, end: bool) -> Self {
        let mut body = bytes.as_ref().to_vec();
        let flow = self.chain.request_body(&mut self.session, &mut body, end);
        self.obey(flow, body);
        self
    }

    /// The request's trailers come.
    pub fn request_trailers(mut self, fields: &[(&str, &str)]) -> Self {
        let mut body = Vec::new();
        self.session.request_trailers = Some(Fields::new(fields));
        let flow = self.chain.request_trailers(&mut self.session, &mut body);
        self.obey(flow, body);
        self
    }

    /// The upstream's response comes, without a body.
    pub fn respond(self, status: u16, fields: &[(&str, &str)]) -> Self {
        self.head(status, fields, true)
    }

    /// The head of the upstream's response comes; a body follows.
    pub fn respond_with_body(self, status: u16, fields: &[(&str, &str)]) -> Self {
        self.head(status, fields, false)
    }

    fn head(mut self, status: u16, fields: &[(&str, &str)], end: bool) -> Self {
        let status = status.to_string();
        let all: Vec<(&str, &str)> =
            [(":status", status.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.half = Half::Response;
        self.session.response = Some(Fields::new(&all));
        let flow = self.chain.response_headers(&mut self.session, end);
        self.obey(flow, Vec::new());
        self
    }

    /// A part of the response's body comes.
    pub fn response_body(mut self, bytes: impl AsRef<[u8]>, end: bool) -> Self {
        let mut body = bytes.as_ref().to_vec();
        let flow = self.chain.response_body(&mut self.session, &mut body, end);
        self.obey(flow, body);
        self
    }

    /// The response's trailers come.
    pub fn response_trailers(mut self, fields: &[(&str, &str)]) -> Self {
        let mut body = Vec::new();
        self.session.response_trailers = Some(Fields::new(fields));
        let flow = self.chain.response_trailers(&mut self.session, &mut body);
        self.obey(flow, body);
        self
    }

    /// Replies to the oldest callout of this request.
    #[track_caller]
    pub fn reply(self, status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let reply = response(status, fields, body.as_ref());
        self.deliver(|chain, session, call| chain.answer(session, call, Ok(&reply)))
    }

    /// Has the oldest callout of this request fail: nobody is there.
    #[track_caller]
    pub fn fail_call(self) -> Self {
        self.fail_call_by(CalloutFailure::Unreachable)
    }

    /// The same, with what it failed by.
    #[track_caller]
    pub fn fail_call_by(self, failure: CalloutFailure) -> Self {
        self.deliver(|chain, session, call| chain.answer(session, call, Err(failure)))
    }

    /// Something comes on the oldest gRPC call of this request. A call is over with that; a stream
    /// when it is closed.
    #[track_caller]
    pub fn grpc(mut self, event: GrpcEvent) -> Self {
        let place = self.calls.iter().position(|call| call.grpc.is_some());
        let place = place.expect("no gRPC call is under way");
        let (call, streams) = match &self.calls[place] {
            Callout { link, token, grpc: Some(grpc), .. } => ((*link, *token), grpc.streams),
            _ => unreachable!("it was looked for"),
        };
        if !streams || matches!(event, GrpcEvent::Closed { .. }) {
            self.calls.remove(place);
        }
        self.chain.hear(&mut self.session, call, &event);
        self.collect();
        self
    }

    /// The filter has sent this as its next message on its oldest gRPC call.
    #[track_caller]
    pub fn expect_sent(self, message: impl AsRef<[u8]>) -> Self {
        let call = self.calls.iter().find_map(|call| call.grpc.as_ref());
        let call = call.expect("no gRPC call is under way");
        match call.outgoing.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Sending::Message { bytes, .. }) => assert_eq!(bytes, message.as_ref()),
            other => panic!("the filter has sent {other:?}"),
        }
        self
    }

    #[track_caller]
    fn deliver(mut self, answer: impl FnOnce(&mut Chain, &mut FakeSession, &Callout)) -> Self {
        assert!(!self.calls.is_empty(), "no call waits for a reply");
        let call = self.calls.remove(0);
        answer(&mut self.chain, &mut self.session, &call);
        self.collect();
        self
    }

    /// Ends the exchange: the filter's last callbacks.
    pub fn finish(self) {}

    /// The filter let the message go on.
    #[track_caller]
    pub fn expect_continue(self) -> Self {
        assert!(matches!(self.said, Said::Continue), "the filter said {:?}", self.said);
        self
    }

    /// The filter holds the message back.
    #[track_caller]
    pub fn expect_wait(self) -> Self {
        assert!(matches!(self.said, Said::Wait), "the filter said {:?}", self.said);
        self
    }

    /// The filter answered by itself, with this status.
    #[track_caller]
    pub fn expect_answer(self, status: u16) -> Self {
        assert_eq!(self.answer().status, status);
        self
    }

    /// The filter's answer gives this reason to the access log.
    #[track_caller]
    pub fn expect_cause(self, cause: &str) -> Self {
        assert_eq!(self.answer().details, cause);
        self
    }

    /// The filter's answer has this field.
    #[track_caller]
    pub fn expect_answer_header(self, name: &str, value: &str) -> Self {
        let found = self.answer().headers.value(name.as_bytes()).map(String::from_utf8_lossy);
        assert_eq!(found.as_deref(), Some(value), "the answer's field {name}");
        self
    }

    /// The filter's answer has this body.
    #[track_caller]
    pub fn expect_answer_body(self, body: impl AsRef<[u8]>) -> Self {
        let found = String::from_utf8_lossy(&self.answer().body);
        assert_eq!(found, String::from_utf8_lossy(body.as_ref()));
        self
    }

    /// The exchange was cut.
    #[track_caller]
    pub fn expect_close(self) -> Self {
        assert!(matches!(self.said, Said::Close), "the filter said {:?}", self.said);
        self
    }

    /// The request's field `name` is there once, with this value.
    #[track_caller]
    pub fn expect_header(self, name: &str, value: &str) -> Self {
        assert_eq!(values(&self.session.request, name), [value], "the request's field {name}");
        self
    }

    /// The request has no field `name`.
    #[track_caller]
    pub fn expect_no_header(self, name: &str) -> Self {
        assert!(values(&self.session.request, name).is_empty(), "the request's field {name}");
        self
    }

    /// The response's field `name` is there once, with this value.
    #[track_caller]
    pub fn expect_response_header(self, name: &str, value: &str) -> Self {
        let response = self.session.response.as_ref().expect("no response has come");
        assert_eq!(values(response, name), [value], "the response's field {name}");
        self
    }

    /// The response has no field `name`.
    #[track_caller]
    pub fn expect_no_response_header(self, name: &str) -> Self {
        let response = self.session.response.as_ref().expect("no response has come");
        assert!(values(response, name).is_empty(), "the response's field {name}");
        self
    }

    /// This much of the request's body has gone on so far.
    #[track_caller]
    pub fn expect_request_body(self, body: impl AsRef<[u8]>) -> Self {
        let found = String::from_utf8_lossy(&self.passed[Half::Request as usize]);
        assert_eq!(found, String::from_utf8_lossy(body.as_ref()));
        self
    }

    /// This much of the response's body has gone on so far.
    #[track_caller]
    pub fn expect_response_body(self, body: impl AsRef<[u8]>) -> Self {
        let found = String::from_utf8_lossy(&self.passed[Half::Response as usize]);
        assert_eq!(found, String::from_utf8_lossy(body.as_ref()));
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

    /// The filter has used no more fuel than this for the exchange so far.
    #[track_caller]
    pub fn expect_fuel_max(self, fuel: u64) -> Self {
        let used = self.fuel_used();
        assert!(used <= fuel, "{used} of fuel were used, at most {fuel} expected");
        self
    }

    /// Fuel that the filter has used for the exchange so far; 0 after it failed, for the count
    /// went with its instance.
    pub fn fuel_used(&self) -> u64 {
        self.test.fuel_used().saturating_sub(self.fuel_before)
    }

    /// What the filter said last.
    pub fn verdict(&self) -> Verdict<'_> {
        match &self.said {
            Said::Continue => Verdict::Continue,
            Said::Wait => Verdict::Wait,
            Said::Answer(answer) => Verdict::Answer(answer),
            Said::Close => Verdict::Close,
        }
    }

    /// The request's head as it is now.
    pub fn request_fields(&self) -> &Fields {
        &self.session.request
    }

    /// The response's head as it is now; `None` before it came.
    pub fn response_fields(&self) -> Option<&Fields> {
        self.session.response.as_ref()
    }

    /// What has gone on of the request's body.
    pub fn request_passed(&self) -> &[u8] {
        &self.passed[Half::Request as usize]
    }

    /// What has gone on of the response's body.
    pub fn response_passed(&self) -> &[u8] {
        &self.passed[Half::Response as usize]
    }

    /// The calls of this request that wait for a reply, oldest first.
    pub fn calls(&self) -> &[Callout] {
        &self.calls
    }

    /// The value of the request's field `name` as it is now, the first one.
    pub fn request_header(&mut self, name: &str) -> Option<String> {
        let fields = self.session.headers(MapType::RequestHeaders)?;
        fields.value(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[track_caller]
    fn answer(&self) -> &LocalResponse {
        match &self.said {
            Said::Answer(answer) => answer,
            other => panic!("the filter said {other:?}"),
        }
    }

    /// Does what the chain says, and then what happens by itself.
    fn obey(&mut self, flow: Flow, mut body: Vec<u8>) {
        self.said = match flow {
            Flow::Continue => {
                self.passed[self.half as usize].append(&mut body);
                Said::Continue
            }
            Flow::Pause => Said::Wait,
            Flow::Respond(answer) => self.answered(answer),
            Flow::Close => Said::Close,
        };
        self.collect();
    }

    /// An answer to a request passes the filter's callbacks for responses, as in the proxy: they
    /// may change it, not hold it. One with a field that can't be sent is a 500 without any.
    fn answered(&mut self, mut answer: Box<LocalResponse>) -> Said {
        let fields = Fields::of_answer(&answer).unwrap_or_else(|| {
            (answer.status, answer.headers) = (500, PairList::default());
            Fields::new(&[(":status", "500")])
        });
        if self.session.response.is_none() {
            self.session.response = Some(fields);
            let end = answer.body.is_empty();
            let flow = self.chain.response_headers(&mut self.session, end);
            if flow == Flow::Continue && !end && self.chain.wants_response_body() {
                let mut body = answer.body.clone();
                let flow = self.chain.response_body(&mut self.session, &mut body, true);
                if flow == Flow::Continue {
                    answer.body = body;
                }
            }
            if let Some(fields) = &self.session.response {
                let status = fields.values(":status").next().unwrap_or_default();
                let status = str::from_utf8(status).ok().and_then(|status| status.parse().ok());
                answer.status = status.unwrap_or(answer.status);
                let fields = fields.iter().filter(|(name, _)| *name != b":status");
                answer.headers = fields.collect();
            }
        }
        Said::Answer(answer)
    }

    fn collect(&mut self) {
        while let Some(call) = self.chain.callout() {
            self.calls.push(call);
        }
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(event) = self.chain.poll_event(&mut context) {
            let mut body = Vec::new();
            match event {
                Event::ResumeRequest => {
                    let flow = self.chain.resume_request(&mut self.session, &mut body);
                    return self.obey(flow, body);
                }
                Event::ResumeResponse => {
                    let flow = self.chain.resume_response(&mut self.session, &mut body);
                    return self.obey(flow, body);
                }
                Event::Respond(answer) => {
                    self.said = self.answered(answer);
                    return;
                }
                Event::Close => {
                    self.said = Said::Close;
                    return;
                }
                Event::Callout(call) => self.calls.push(call),
            }
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.chain.finish(&mut self.session);
    }
}

fn values(fields: &Fields, name: &str) -> Vec<String> {
    fields.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
