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
        Kind::split(value).map(|(kind, _)| kind)
    }

    /// The field's value for the same messages in another form: `application/grpc-web+proto`
    /// becomes `application/grpc+proto`. `None` where it names no form.
    pub fn renamed(value: &[u8], kind: Kind) -> Option<Vec<u8>> {
        let (_, rest) = Kind::split(value)?;
        Some([kind.name(), rest].concat())
    }

    /// The form, and what follows it.
    fn split(value: &[u8]) -> Option<(Kind, &[u8])> {
        // The longest first: the others begin it.
        [Kind::WebText, Kind::Web, Kind::Grpc].into_iter().find_map(|kind| {
            let (name, rest) = value.split_at_checked(kind.name().len())?;
            // RFC 9110 §8.3.1: types are compared without regard to case.
            let ends_there = matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'));
            (name.eq_ignore_ascii_case(kind.name()) && ends_there).then_some((kind, rest))
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
