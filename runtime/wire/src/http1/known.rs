//! The field names that a proxy treats apart, found by length and one folded comparison.

/// A field name with a meaning to the codec or the proxy; all others are `Other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is the field of that name")]
pub enum Known {
    #[default]
    Other,
    Accept,
    AcceptEncoding,
    Age,
    AltSvc,
    Authorization,
    CacheControl,
    ClientCert,
    ClientCertChain,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentRange,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    Location,
    MaxForwards,
    Origin,
    Proxy,
    ProxyConnection,
    Range,
    Referer,
    RetryAfter,
    Server,
    SetCookie,
    Te,
    Traceparent,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedClientCert,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRequestId,
}

impl Known {
    /// What `name`, in any case, stands for.
    ///
    /// `name` must be a token, or the answer may be a false match: folding sets bit 5 of every
    /// byte, which maps no other token byte onto a letter, a digit or `-`.
    #[inline]
    pub fn of(name: &[u8]) -> Known {
        match name.len() {
            2 => row(name, &[(b"te", Known::Te)]),
            3 => row(name, &[(b"via", Known::Via), (b"age", Known::Age)]),
            4 => row(name, &[(b"host", Known::Host), (b"date", Known::Date)]),
            5 => row(name, &[(b"range", Known::Range), (b"proxy", Known::Proxy)]),
            6 => Known::of_six(name),
            7 => Known::of_seven(name),
            8 => row(name, &[(b"location", Known::Location)]),
            9 => row(name, &[(b"forwarded", Known::Forwarded)]),
            10 => Known::of_ten(name),
            11 => row(
                name,
                &[
                    (b"retry-after", Known::RetryAfter),
                    (b"traceparent", Known::Traceparent),
                    (b"client-cert", Known::ClientCert),
                ],
            ),
            12 => Known::of_twelve(name),
            13 => Known::of_thirteen(name),
            14 => row(
                name,
                &[
                    (b"content-length", Known::ContentLength),
                    (b"http2-settings", Known::Http2Settings),
                ],
            ),
            15 => Known::of_fifteen(name),
            16 => Known::of_sixteen(name),
            17 => row(
                name,
                &[
                    (b"transfer-encoding", Known::TransferEncoding),
                    (b"x-forwarded-proto", Known::XForwardedProto),
                    (b"client-cert-chain", Known::ClientCertChain),
                ],
            ),
            23 => row(name, &[(b"x-forwarded-client-cert", Known::XForwardedClientCert)]),
            _ => Known::Other,
        }
    }

    fn of_six(name: &[u8]) -> Known {
        row(
            name,
            &[
                (b"accept", Known::Accept),
                (b"cookie", Known::Cookie),
                (b"expect", Known::Expect),
                (b"server", Known::Server),
                (b"origin", Known::Origin),
            ],
        )
    }

    fn of_seven(name: &[u8]) -> Known {
        row(
            name,
            &[
                (b"referer", Known::Referer),
                (b"upgrade", Known::Upgrade),
                (b"trailer", Known::Trailer),
                (b"alt-svc", Known::AltSvc),
            ],
        )
    }

    fn of_ten(name: &[u8]) -> Known {
        row(
            name,
            &[
                (b"connection", Known::Connection),
                (b"user-agent", Known::UserAgent),
                (b"keep-alive", Known::KeepAlive),
                (b"set-cookie", Known::SetCookie),
            ],
        )
    }

    fn of_twelve(name: &[u8]) -> Known {
        row(
            name,
            &[
                (b"content-type", Known::ContentType),
                (b"x-request-id", Known::XRequestId),
                (b"max-forwards", Known::MaxForwards),
            ],
        )
    }

    fn of_thirteen(name: &[u8]) -> Known {
        row(
            name,
            &[
                (b"authorization", Known::Authorization),
                (b"cache-control", Known::CacheControl),
                (b"content-range", Known::ContentRange),
            ],
        )
    }

    fn of_fifteen(name: &[u8]) -> Known {
        row(
            name,
            &[
                (b"accept-encoding", Known::AcceptEncoding),
                (b"x-forwarded-for", Known::XForwardedFor),
            ],
        )
    }

    fn of_sixteen(name: &[u8]) -> Known {
        row(
            name,
            &[
                (b"x-forwarded-host", Known::XForwardedHost),
                (b"content-encoding", Known::ContentEncoding),
                (b"proxy-connection", Known::ProxyConnection),
            ],
        )
    }

    /// Whether the field always ends at this hop (RFC 9110 §7.6.1).
    ///
    /// `Trailer` is not among them: trailers are forwarded, and so is their announcement.
    pub(super) fn is_hop_by_hop(self) -> bool {
        HOP_BY_HOP.contains(self)
    }

    /// Whether only the codec may write the field, because it frames or routes the message.
    pub(super) fn is_reserved(self) -> bool {
        HOP_BY_HOP.with(Known::ContentLength).with(Known::Host).contains(self)
    }

    /// Whether the field must not stand in a trailer section (RFC 9110 §6.5.1): what frames,
    /// routes, authenticates or says how to read the content has been acted upon by then.
    pub(super) fn is_forbidden_in_trailers(self) -> bool {
        FORBIDDEN_IN_TRAILERS.contains(self)
    }
}

#[inline(always)]
fn row<const N: usize>(name: &[u8], row: &[(&[u8; N], Known)]) -> Known {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return Known::Other };
    for (lower, known) in row {
        let mut difference = 0;
        for index in 0..N {
            difference |= (name[index] | 0x20) ^ lower[index];
        }
        if difference == 0 {
            return *known;
        }
    }
    Known::Other
}

/// A set of known names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownSet(u64);

impl KnownSet {
    /// The empty set.
    pub const NONE: KnownSet = KnownSet(0);

    /// This set and `known`.
    #[must_use]
    pub const fn with(self, known: Known) -> KnownSet {
        KnownSet(self.0 | 1 << known as u8)
    }

    /// Whether `known` is in the set.
    #[inline]
    pub const fn contains(self, known: Known) -> bool {
        self.0 >> (known as u8) & 1 != 0
    }
}

const HOP_BY_HOP: KnownSet = KnownSet::NONE
    .with(Known::Connection)
    .with(Known::Http2Settings)
    .with(Known::KeepAlive)
    .with(Known::ProxyConnection)
    .with(Known::Te)
    .with(Known::TransferEncoding)
    .with(Known::Upgrade);

const FORBIDDEN_IN_TRAILERS: KnownSet = HOP_BY_HOP
    .with(Known::Age)
    .with(Known::Authorization)
    .with(Known::CacheControl)
    .with(Known::ClientCert)
    .with(Known::ClientCertChain)
    .with(Known::ContentEncoding)
    .with(Known::ContentLength)
    .with(Known::ContentRange)
    .with(Known::ContentType)
    .with(Known::Cookie)
    .with(Known::Date)
    .with(Known::Expect)
    .with(Known::Forwarded)
    .with(Known::Host)
    .with(Known::Location)
    .with(Known::MaxForwards)
    .with(Known::Proxy)
    .with(Known::Range)
    .with(Known::RetryAfter)
    .with(Known::SetCookie)
    .with(Known::Trailer)
    .with(Known::Via)
    .with(Known::XForwardedClientCert)
    .with(Known::XForwardedFor)
    .with(Known::XForwardedHost)
    .with(Known::XForwardedProto);
