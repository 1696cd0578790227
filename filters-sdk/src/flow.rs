//! What a callback decides: go on, wait, or answer at once.

use core::time::Duration;

use penstock_filters_sdk_abi::Status;

use crate::pairs::FieldList;
use crate::sys;

/// What becomes of the request or response after a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a callback's decision is what it returns"]
pub enum Flow {
    /// Go on to the next filter, or upstream.
    Continue,
    /// Answer downstream at once; nothing goes further. Of two answers the first counts.
    Respond(Answer),
    /// Hold the message. From a header callback: until a callout's reply decides (see
    /// [`Filter::on_reply`]); what [`Continue`](Self::Continue) a later callback of that half
    /// says does not come before it. From a body callback: until more of the body has come, or a
    /// reply decides.
    ///
    /// [`Filter::on_reply`]: crate::Filter::on_reply
    Wait,
}

impl From<Answer> for Flow {
    fn from(answer: Answer) -> Self {
        Self::Respond(answer)
    }
}

/// A response of the filter's own.
///
/// ```
/// # extern crate penstock_filters_sdk as penstock;
/// use penstock::{Answer, Flow};
///
/// let refusal: Flow = Answer::new(401)
///     .header("www-authenticate", "Bearer")
///     .body("Who are you?\n")
///     .cause("token_missing")
///     .into();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: FieldList,
    pub(crate) body: Vec<u8>,
    pub(crate) cause: &'static str,
}

impl Answer {
    /// An answer with `status`, no body and no fields but those that the proxy adds. The status is
    /// one of 200 to 599: in the place of an answer that the host refuses a plain 500 is sent, and
    /// the log says why.
    pub fn new(status: u16) -> Self {
        Self { status, headers: FieldList::default(), body: Vec::new(), cause: "" }
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Names the reason in one word, for the access log: `token_expired`, not a sentence.
    pub fn cause(mut self, cause: &'static str) -> Self {
        self.cause = cause;
        self
    }

    /// The status of this answer.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Gives it. One that the host refuses is a plain 500: what was to be turned away may neither
    /// pass nor be held until somebody gives up.
    ///
    /// # Panics
    /// If that is refused, too: the filter's failure policy decides then.
    pub(crate) fn send(&self) {
        let sent = sys::respond(self.status, self.cause, &self.headers.encode(), &self.body);
        let Err(refused) = sent else { return };
        let refused = match refused {
            Status::BadArgument => "a status is one of 200 to 599",
            Status::InternalFailure => {
                "it is larger than a hostcall may be, or `local-response` is not granted"
            }
            other => sys::words(other),
        };
        crate::error!("answer {} was refused by the host: {refused}", self.status);
        let plain = sys::respond(500, "answer_refused", &FieldList::default().encode(), &[]);
        assert!(plain.is_ok(), "no answer can be given: {refused}");
    }
}

/// A request of the filter's own to a cluster of the proxy's configuration.
///
/// The reply comes to [`Filter::on_reply`] (called from a request), [`Filter::on_response_reply`]
/// (from a response) or [`Filter::on_plugin_reply`] (from a timer).
///
/// [`Filter::on_reply`]: crate::Filter::on_reply
/// [`Filter::on_response_reply`]: crate::Filter::on_response_reply
/// [`Filter::on_plugin_reply`]: crate::Filter::on_plugin_reply
#[derive(Clone, Debug)]
pub struct HttpCall {
    pub(crate) cluster: String,
    pub(crate) headers: FieldList,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
}

impl HttpCall {
    /// A call of `method` for `path` at `authority` over `cluster`, one second of patience.
    pub fn new(cluster: &str, method: &str, authority: &str, path: &str) -> Self {
        let mut headers = FieldList::default();
        headers.push(":method", method.as_bytes());
        headers.push(":path", path.as_bytes());
        headers.push(":authority", authority.as_bytes());
        Self {
            cluster: cluster.to_owned(),
            headers,
            body: Vec::new(),
            timeout: Duration::from_secs(1),
        }
    }

    /// A GET for `path`, with the cluster's name as authority.
    pub fn get(cluster: &str, path: &str) -> Self {
        Self::new(cluster, "GET", cluster, path)
    }

    /// A POST of `body` to `path`, with the cluster's name as authority.
    pub fn post(cluster: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(cluster, "POST", cluster, path).body(body)
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets how long to wait for the reply. After it the reply is one that failed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn send(&self) -> Result<CallId, CallRefused> {
        let parts = sys::CallParts {
            cluster: &self.cluster,
            headers: &self.headers.encode(),
            body: &self.body,
            timeout_ms: u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX),
        };
        match sys::call(&parts) {
            Ok(id) => Ok(CallId(id)),
            Err(status) => {
                let whole = [":method", ":path", ":authority"]
                    .into_iter()
                    .all(|name| self.headers.has_value(name));
                let why = match status {
                    Status::BadArgument if !whole => "method, path and authority have to be there",
                    Status::BadArgument => "it may not call this cluster, or there is none",
                    Status::InternalFailure => "over a limit, or `http-call` is not granted",
                    other => sys::words(other),
                };
                crate::warn!("call to cluster {} refused: {why}", self.cluster);
                Err(CallRefused { unknown_cluster: status == Status::BadArgument && whole })
            }
        }
    }
}

/// Which callout a reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(crate) u32);

/// The host did not take a callout; no reply will come. Already logged with its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRefused {
    /// The cluster is not in the configuration, or not among those that this filter may call.
    pub unknown_cluster: bool,
}

impl core::fmt::Display for CallRefused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self.unknown_cluster {
            true => "the cluster is unknown, or not one that this filter may call",
            false => "the proxy could not send the call",
        })
    }
}

impl core::error::Error for CallRefused {}
