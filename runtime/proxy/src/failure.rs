//! What went wrong: whose fault it is, what happens next, and under which name it is counted.
//!
//! The only place that turns a failure into a status, a log field, a metric label and a retry
//! decision. Codecs know nothing of statuses; the data path asks here.

use penstock_wire::http1::{BodyError, HeadError, RequestError};

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The peer that asked.
    Downstream,
    /// The endpoint that was asked.
    Upstream,
    /// A filter.
    Filter,
    /// Whoever wrote the config.
    Operator,
    /// Penstock.
    Ours,
}

impl Side {
    /// Its name in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Downstream => "downstream",
            Side::Upstream => "upstream",
            Side::Filter => "filter",
            Side::Operator => "operator",
            Side::Ours => "ours",
        }
    }
}

/// What the downstream sees of a failure, as long as its response has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A status, and the connection goes on if the request was read whole.
    Respond(u16),
    /// A status, and the end: the stream's framing is in doubt, or the peer is too slow.
    RespondAndClose(u16),
    /// Nothing: nobody is there, or nothing sensible can be said.
    Close,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $side:ident, $next:expr;)*) => {
        /// Why an answer is ours, or a connection was cut. Each has one name, for the log, the
        /// metric and the `x-penstock-cause` field.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause {
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            /// Every cause, in the order of its index.
            pub const ALL: &'static [Cause] = &[$(Cause::$name,)*];
            /// The names, by index.
            pub const NAMES: &'static [&'static str] = &[$($text,)*];

            /// Whose fault it is.
            pub fn side(self) -> Side {
                match self { $(Cause::$name => Side::$side,)* }
            }

            /// What the downstream sees of it.
            pub fn next(self) -> Next {
                use Next::{Close, Respond, RespondAndClose};
                match self { $(Cause::$name => $next,)* }
            }
        }
    };
}

causes! {
    /// The request's head is over the limit.
    HeadTooLarge = "head_too_large", Downstream, RespondAndClose(431);
    /// One line of the head is over the limit.
    LineTooLong = "line_too_long", Downstream, RespondAndClose(431);
    /// The head has too many fields.
    TooManyFields = "too_many_fields", Downstream, RespondAndClose(431);
    /// The request's target is over the limit.
    TargetTooLong = "target_too_long", Downstream, RespondAndClose(414);
    /// A line of the head ends in LF alone.
    BareLf = "bare_lf", Downstream, RespondAndClose(400);
    /// A field value is folded over lines.
    ObsFold = "obs_fold", Downstream, RespondAndClose(400);
    /// The request line does not start with a method.
    InvalidMethod = "invalid_method", Downstream, RespondAndClose(400);
    /// The target is none that RFC 9112 §3.2 knows.
    InvalidTarget = "invalid_target", Downstream, RespondAndClose(400);
    /// The version is not HTTP/1.0 or HTTP/1.1.
    InvalidVersion = "invalid_version", Downstream, RespondAndClose(400);
    /// A line of the head ends wrongly.
    InvalidLineEnd = "invalid_line_end", Downstream, RespondAndClose(400);
    /// A field name is no token.
    InvalidFieldName = "invalid_field_name", Downstream, RespondAndClose(400);
    /// A field value has bytes that none may have.
    InvalidFieldValue = "invalid_field_value", Downstream, RespondAndClose(400);
    /// `Content-Length` is no number.
    InvalidContentLength = "invalid_content_length", Downstream, RespondAndClose(400);
    /// `Content-Length` is there more than once.
    RepeatedContentLength = "repeated_content_length", Downstream, RespondAndClose(400);
    /// Two values of `Content-Length` differ.
    ConflictingContentLength = "conflicting_content_length", Downstream, RespondAndClose(400);
    /// Both `Content-Length` and `Transfer-Encoding` are there.
    LengthAndTransferEncoding = "length_and_transfer_encoding", Downstream, RespondAndClose(400);
    /// `Transfer-Encoding` is not `chunked` alone, or is not for this version.
    InvalidTransferEncoding = "invalid_transfer_encoding", Downstream, RespondAndClose(400);
    /// `Transfer-Encoding` in HTTP/1.0, which knows none.
    TransferEncodingOnHttp10 = "transfer_encoding_on_http10", Downstream, RespondAndClose(400);
    /// `Connection` names too many fields.
    TooManyConnectionOptions = "too_many_connection_options", Downstream, RespondAndClose(400);
    /// `Host` is missing.
    MissingHost = "missing_host", Downstream, RespondAndClose(400);
    /// `Host` is there more than once.
    RepeatedHost = "repeated_host", Downstream, RespondAndClose(400);
    /// `Host` is no authority.
    InvalidHost = "invalid_host", Downstream, RespondAndClose(400);
    /// `Host` and the target name different hosts.
    HostMismatch = "host_mismatch", Downstream, RespondAndClose(400);
    /// Too many empty lines before a request.
    TooManyEmptyLines = "too_many_empty_lines", Downstream, RespondAndClose(400);
    /// The path has no normal form.
    InvalidPath = "invalid_path", Downstream, Respond(400);
    /// Another route would take the path if it were read as some origins do.
    AmbiguousPath = "ambiguous_path", Downstream, Respond(400);
    /// The request's body is not framed as RFC 9112 §7.1 says.
    InvalidBody = "invalid_body", Downstream, RespondAndClose(400);
    /// The request's trailers are over a limit.
    TrailersTooLarge = "trailers_too_large", Downstream, RespondAndClose(431);
    /// The request's body is larger than what may be buffered for a filter.
    BodyTooLarge = "body_too_large", Downstream, RespondAndClose(413);
    /// The shard holds as many bytes of large heads as it may, or as many of that source.
    LargeHeadsMax = "large_heads_max", Ours, RespondAndClose(503);
    /// CONNECT or TRACE.
    MethodNotAllowed = "method_not_allowed", Downstream, RespondAndClose(405);
    /// The head did not come in time.
    RequestHeadTimeout = "request_head_timeout", Downstream, RespondAndClose(408);
    /// The body stopped coming, or came too slowly.
    RequestBodyTimeout = "request_body_timeout", Downstream, RespondAndClose(408);
    /// The downstream went away before it had its answer.
    DownstreamGone = "downstream_gone", Downstream, Close;
    /// The downstream stopped reading its answer.
    DownstreamStalled = "downstream_stalled", Downstream, Close;
    /// The downstream said nothing at all until its time was over: a browser's connection in stock,
    /// mostly, or one of very many.
    DownstreamSilent = "downstream_silent", Downstream, Close;
    /// The listener, or the appliance, has as many connections as it may.
    ConnectionsMax = "connections_max", Ours, Close;
    /// The source address has as many connections as it may.
    SourceConnectionsMax = "source_connections_max", Downstream, Close;
    /// A flow of datagrams that nobody had answered was ended for a newer one: its service, its
    /// cluster or its source had as many as they may, or those without an answer their part.
    FlowGaveWay = "flow_gave_way", Downstream, Close;
    /// Its service does not serve the source address.
    SourceDenied = "source_denied", Downstream, Close;
    /// The same, and there was no place left to keep the connection.
    TarpitFull = "tarpit_full", Downstream, Close;
    /// A peer that has to say who its connection is from said it wrongly, or not at all.
    ProxyHeaderInvalid = "proxy_header_invalid", Downstream, Close;
    /// It did not say it in time.
    ProxyHeaderTimeout = "proxy_header_timeout", Downstream, Close;
    /// What came to a listener with TLS is not TLS.
    NotTls = "not_tls", Downstream, Close;
    /// The TLS handshake did not end in time.
    TlsTimeout = "tls_timeout", Downstream, Close;
    /// The downstream went away in the middle of the TLS handshake.
    TlsGone = "tls_gone", Downstream, Close;
    /// The TLS handshake found no version, cipher, group or protocol that both sides have.
    TlsNothingInCommon = "tls_nothing_in_common", Downstream, Close;
    /// The downstream asked for a name that no certificate of the listener is for.
    TlsUnknownName = "tls_unknown_name", Downstream, Close;
    /// The listener's certificate is ordered by ACME and has not come yet.
    TlsNoCertificate = "tls_no_certificate", Ours, Close;
    /// The downstream showed no certificate where one is required.
    TlsCertificateMissing = "tls_certificate_missing", Downstream, Close;
    /// The downstream's certificate is not accepted.
    TlsCertificateRefused = "tls_certificate_refused", Downstream, Close;
    /// The downstream ended the TLS handshake with an alert: it does not accept ours, mostly.
    TlsAlert = "tls_alert", Downstream, Close;
    /// The TLS handshake failed otherwise: broken records, forged messages.
    TlsFailed = "tls_failed", Downstream, Close;
    /// The shard has as many TLS handshakes under way as the listener allows.
    HandshakesMax = "handshakes_max", Ours, Close;
    /// A TLS handshake was ended for a newcomer's, where there were as many as the listener allows:
    /// the oldest of the source that had the most, or one that stood still.
    HandshakeGaveWay = "handshake_gave_way", Downstream, Close;
    /// The request is for another host than the TLS connection was opened for.
    Misdirected = "misdirected", Downstream, Respond(421);
    /// The downstream broke a rule of HTTP/2 that ends the connection.
    Http2Violation = "http2_violation", Downstream, Close;
    /// The downstream had `h2` hold or do more than it may.
    Http2Overload = "http2_overload", Downstream, Close;
    /// The shard has as many streams of HTTP/2 under way as it may.
    StreamsMax = "streams_max", Ours, Close;
    /// The downstream has as many bytes of large heads under way on a connection of HTTP/2 as it
    /// may.
    StreamHeadsMax = "stream_heads_max", Downstream, Close;
    /// The downstream began streams and gave them up, too many a second.
    ResetFlood = "reset_flood", Downstream, Close;
    /// The downstream sent too many pings a second.
    PingFlood = "ping_flood", Downstream, Close;
    /// The downstream changed its settings too many times a second.
    SettingsFlood = "settings_flood", Downstream, Close;
    /// The downstream sent too many frames of a body that hold nothing of it.
    EmptyDataFlood = "empty_data_flood", Downstream, Close;
    /// The downstream sent too many updates of its windows a second, for what it was sent.
    WindowFlood = "window_flood", Downstream, Close;
    /// The downstream sent a head in too many frames.
    ContinuationFlood = "continuation_flood", Downstream, Close;
    /// The downstream sent too many frames a second that mean nothing.
    FrameFlood = "frame_flood", Downstream, Close;
    /// The downstream asked, over HTTP/2, for a tunnel that is none of its route's (RFC 8441).
    TunnelRefused = "tunnel_refused", Downstream, Respond(501);
    /// What came to a listener for gRPC is no call.
    NotGrpc = "not_grpc", Downstream, Respond(415);
    /// No route matches.
    NoRoute = "no_route", Operator, Respond(404);
    /// The route answers itself.
    RouteResponds = "route_responds", Operator, Respond(200);
    /// The route redirects.
    RouteRedirects = "route_redirects", Operator, Respond(308);
    /// The cluster has no endpoint that may be asked.
    NoEndpoint = "no_endpoint", Upstream, Respond(503);
    /// The cluster has as many requests in flight as it may, and as many waiting.
    ClusterFull = "cluster_full", Ours, Respond(503);
    /// A place in the cluster did not become free in time.
    QueueTimeout = "queue_timeout", Ours, Respond(503);
    /// The endpoint refused the connection.
    ConnectRefused = "connect_refused", Upstream, Respond(502);
    /// The endpoint did not answer the connect in time.
    ConnectTimeout = "connect_timeout", Upstream, Respond(504);
    /// The connect failed otherwise: no route to the host, no such socket.
    ConnectFailed = "connect_failed", Upstream, Respond(502);
    /// The endpoint's certificate is not accepted.
    UpstreamUntrusted = "upstream_untrusted", Upstream, Respond(502);
    /// The TLS handshake with the endpoint failed otherwise.
    UpstreamTlsFailed = "upstream_tls_failed", Upstream, Respond(502);
    /// The endpoint took the connection and left its TLS handshake unanswered.
    UpstreamTlsTimeout = "upstream_tls_timeout", Upstream, Respond(504);
    /// The endpoint took the connection and does not speak HTTP/2 on it, as its cluster says.
    UpstreamNotHttp2 = "upstream_not_http2", Upstream, Respond(502);
    /// We have no file descriptor or port left.
    ConnectExhausted = "connect_exhausted", Ours, Respond(503);
    /// The endpoint closed or reset before its response.
    UpstreamReset = "upstream_reset", Upstream, Respond(502);
    /// The endpoint said that it did nothing with the request: a refused stream, or a GOAWAY.
    UpstreamRefused = "upstream_refused", Upstream, Respond(503);
    /// The endpoint answered that it can't serve, and another one was asked.
    UpstreamUnavailable = "upstream_unavailable", Upstream, Respond(503);
    /// The endpoint's response is malformed.
    UpstreamMalformed = "upstream_malformed", Upstream, Respond(502);
    /// The endpoint's response head is over a limit.
    UpstreamHeadTooLarge = "upstream_head_too_large", Upstream, Respond(502);
    /// The endpoint did not begin its response in time.
    UpstreamTimeout = "upstream_timeout", Upstream, Respond(504);
    /// The request took longer than its route allows.
    RouteTimeout = "route_timeout", Upstream, Respond(504);
    /// The endpoint's response ended before its end.
    UpstreamTruncated = "upstream_truncated", Upstream, Close;
    /// The endpoint's response stopped coming.
    UpstreamStalled = "upstream_stalled", Upstream, Close;
    /// The endpoint's response body is malformed.
    UpstreamInvalidBody = "upstream_invalid_body", Upstream, Close;
    /// The endpoint switched protocols without being asked, or to another one, or did not where
    /// its answer can't be told from one that did.
    UpstreamBadUpgrade = "upstream_bad_upgrade", Upstream, Respond(502);
    /// The endpoint speaks HTTP/2 and takes no WebSocket over it (RFC 8441 §3).
    UpstreamNoWebSocket = "upstream_no_websocket", Upstream, Respond(502);
    /// A tunnel carried nothing for too long.
    TunnelIdle = "tunnel_idle", Downstream, Close;
    /// The downstream did not answer a ping of ours.
    PingUnanswered = "ping_unanswered", Downstream, Close;
    /// A filter answered.
    FilterResponds = "filter_responds", Filter, Respond(200);
    /// A filter failed, and its policy is to deny.
    FilterFailed = "filter_failed", Filter, Respond(503);
    /// What filters made of a body is not as long as its head says: one changed it, and left
    /// `content-length` standing.
    FilterBodyLength = "filter_body_length", Filter, Respond(503);
    /// A filter held the request for too long.
    FilterStalled = "filter_stalled", Filter, Respond(503);
    /// A filter closed the stream.
    FilterCloses = "filter_closes", Filter, Close;
    /// The appliance is stopping: a WebSocket was told so, or the time to drain is over.
    Drained = "drained", Ours, Close;
    /// A bug of ours.
    Internal = "internal", Ours, RespondAndClose(500);
}

impl Cause {
    /// Its name.
    pub fn name(self) -> &'static str {
        Cause::NAMES[self.index()]
    }

    /// Whether it is no failure, but what was asked for: the route's own answer, or a filter's.
    pub fn is_asked_for(self) -> bool {
        matches!(self, Cause::RouteResponds | Cause::RouteRedirects | Cause::FilterResponds)
    }

    /// Its place in [`Cause::NAMES`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl From<RequestError> for Cause {
    fn from(error: RequestError) -> Cause {
        match error {
            RequestError::Head(head) => head.into(),
            RequestError::InvalidMethod => Cause::InvalidMethod,
            RequestError::TargetTooLong { .. } => Cause::TargetTooLong,
            RequestError::InvalidTarget => Cause::InvalidTarget,
            RequestError::MissingHost => Cause::MissingHost,
            RequestError::RepeatedHost => Cause::RepeatedHost,
            RequestError::InvalidHost => Cause::InvalidHost,
            RequestError::HostMismatch => Cause::HostMismatch,
            RequestError::TooManyEmptyLines { .. } => Cause::TooManyEmptyLines,
        }
    }
}

impl From<HeadError> for Cause {
    fn from(error: HeadError) -> Cause {
        match error {
            HeadError::HeadTooLarge { .. } => Cause::HeadTooLarge,
            HeadError::LineTooLong { .. } => Cause::LineTooLong,
            HeadError::TooManyFields { .. } => Cause::TooManyFields,
            HeadError::BareLf => Cause::BareLf,
            HeadError::ObsFold => Cause::ObsFold,
            HeadError::InvalidVersion => Cause::InvalidVersion,
            HeadError::InvalidLineEnd => Cause::InvalidLineEnd,
            HeadError::InvalidFieldName => Cause::InvalidFieldName,
            HeadError::InvalidFieldValue => Cause::InvalidFieldValue,
            HeadError::InvalidContentLength => Cause::InvalidContentLength,
            HeadError::RepeatedContentLength => Cause::RepeatedContentLength,
            HeadError::ConflictingContentLength => Cause::ConflictingContentLength,
            HeadError::LengthAndTransferEncoding => Cause::LengthAndTransferEncoding,
            HeadError::TransferEncodingOnHttp10 => Cause::TransferEncodingOnHttp10,
            HeadError::InvalidTransferEncoding => Cause::InvalidTransferEncoding,
            HeadError::TooManyConnectionOptions { .. } => Cause::TooManyConnectionOptions,
        }
    }
}

impl From<BodyError> for Cause {
    fn from(error: BodyError) -> Cause {
        match error {
            BodyError::TrailersTooLarge { .. } | BodyError::TooManyTrailers { .. } => {
                Cause::TrailersTooLarge
            }
            BodyError::Truncated => Cause::DownstreamGone,
            _ => Cause::InvalidBody,
        }
    }
}

/// What a failed connect is called.
pub fn of_connect(error: &std::io::Error) -> Cause {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Cause::ConnectRefused,
        ErrorKind::TimedOut => Cause::ConnectTimeout,
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => Cause::ConnectExhausted,
        _ => match error.raw_os_error() {
            // EMFILE and ENFILE: no descriptor left, for us or for the whole machine.
            Some(24 | 23) => Cause::ConnectExhausted,
            _ => Cause::ConnectFailed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Next};

    #[test]
    fn names_are_unique_and_every_answer_is_an_error_or_asked_for() {
        let mut names = Cause::NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Cause::ALL.len());
        for (index, &cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(cause.index(), index);
            if let Next::Respond(status) | Next::RespondAndClose(status) = cause.next() {
                assert!(status >= 400 || cause.is_asked_for(), "{cause:?}");
            }
        }
    }
}
