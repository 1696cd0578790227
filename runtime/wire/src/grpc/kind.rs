//! Which form of gRPC a `content-type` announces.

/// How messages and trailers are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `application/grpc`: over HTTP/2, status in the trailers.
    Grpc,
    /// `application/grpc-web`: over any HTTP, trailers as the last frame of the body.
    Web,
    /// `application/grpc-web-text`: as [`Kind::Web`], the whole body in base64.
    WebText,
}

impl Kind {
    /// What the field says; `None` for anything that isn't gRPC. The message's own format
    /// (`+proto`, `+json`) and parameters may follow.
    pub fn of_field(value: &[u8]) -> Option<Kind> {
        // The longest first: the others begin it.
        [Kind::WebText, Kind::Web, Kind::Grpc].into_iter().find(|kind| {
            let Some((name, rest)) = value.split_at_checked(kind.name().len()) else {
                return false;
            };
            let ends_there = matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'));
            // RFC 9110 §8.3.1: types are compared without regard to case.
            name.eq_ignore_ascii_case(kind.name()) && ends_there
        })
    }

    fn name(self) -> &'static [u8] {
        match self {
            Kind::Grpc => b"application/grpc",
            Kind::Web => b"application/grpc-web",
            Kind::WebText => b"application/grpc-web-text",
        }
    }
}
