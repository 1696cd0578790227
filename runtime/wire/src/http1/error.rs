//! What can be wrong with a message, in the peer's terms. Never a status code.

use thiserror::Error;

/// What is wrong with the lines of a head, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// The head does not end within the limit.
    #[error("head is longer than {max} bytes")]
    HeadTooLarge {
        /// The limit.
        max: usize,
    },
    /// A line does not end within the limit.
    #[error("a line of the head is longer than {max} bytes")]
    LineTooLong {
        /// The limit.
        max: usize,
    },
    /// There are more field lines than allowed.
    #[error("head has more than {max} fields")]
    TooManyFields {
        /// The limit.
        max: usize,
    },
    /// A line ends in LF without CR.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// A line begins with a blank: a folded value, or junk after the start line.
    #[error("a line begins with a blank")]
    ObsFold,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    #[error("version is neither HTTP/1.0 nor HTTP/1.1")]
    InvalidVersion,
    /// Something other than CRLF stands after the start line, or CR without LF.
    #[error("the start line does not end in CRLF")]
    InvalidLineEnd,
    /// A field name is empty, holds a byte that no token has, or is followed by a blank.
    #[error("a field name is not a token followed by a colon")]
    InvalidFieldName,
    /// A field value holds a control character: a bare CR, a NUL.
    #[error("a field value holds a control character")]
    InvalidFieldValue,
    /// A length is not a plain decimal number that fits 64 bits.
    #[error("content-length is not a plain number")]
    InvalidContentLength,
    /// A length is given more than once, each time the same.
    #[error("content-length is repeated")]
    RepeatedContentLength,
    /// Two lengths disagree.
    #[error("content-length values disagree")]
    ConflictingContentLength,
    /// Both ways to frame a body are used at once.
    #[error("content-length beside transfer-encoding")]
    LengthAndTransferEncoding,
    /// The transfer coding is anything but one `chunked`.
    #[error("transfer-encoding is not chunked alone")]
    InvalidTransferEncoding,
    /// A transfer coding in an HTTP/1.0 message.
    #[error("transfer-encoding in HTTP/1.0")]
    TransferEncodingOnHttp10,
    /// `Connection` names more options than anyone needs.
    #[error("connection has more than {max} options")]
    TooManyConnectionOptions {
        /// The limit.
        max: usize,
    },
}

impl HeadError {
    /// A stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            HeadError::HeadTooLarge { .. } => "head_too_large",
            HeadError::LineTooLong { .. } => "line_too_long",
            HeadError::TooManyFields { .. } => "too_many_fields",
            HeadError::BareLf => "bare_lf",
            HeadError::ObsFold => "obs_fold",
            HeadError::InvalidVersion => "invalid_version",
            HeadError::InvalidLineEnd => "invalid_line_end",
            HeadError::InvalidFieldName => "invalid_field_name",
            HeadError::InvalidFieldValue => "invalid_field_value",
            HeadError::InvalidContentLength => "invalid_content_length",
            HeadError::RepeatedContentLength => "repeated_content_length",
            HeadError::ConflictingContentLength => "conflicting_content_length",
            HeadError::LengthAndTransferEncoding => "length_and_transfer_encoding",
            HeadError::InvalidTransferEncoding => "invalid_transfer_encoding",
            HeadError::TransferEncodingOnHttp10 => "transfer_encoding_on_http10",
            HeadError::TooManyConnectionOptions { .. } => "too_many_connection_options",
        }
    }
}

/// Why a request was refused. After any of these the connection's framing is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Something that requests and responses share.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The method is not a token, or is longer than any.
    #[error("method is not a token")]
    InvalidMethod,
    /// The target does not end within the limit.
    #[error("target is longer than {max} bytes")]
    TargetTooLong {
        /// The limit.
        max: usize,
    },
    /// The target has none of the four forms, or one that the method does not allow.
    #[error("target has no form that the method allows")]
    InvalidTarget,
    /// HTTP/1.1 without `Host`.
    #[error("no host")]
    MissingHost,
    /// More than one `Host`.
    #[error("more than one host")]
    RepeatedHost,
    /// The host or its port is malformed, empty, or carries user information.
    #[error("host is malformed")]
    InvalidHost,
    /// The target's authority and `Host` disagree.
    #[error("host differs from the target's authority")]
    HostMismatch,
    /// More empty lines in front of the request than are forgiven.
    #[error("more than {max} empty lines before the request")]
    TooManyEmptyLines {
        /// The limit.
        max: usize,
    },
}

impl RequestError {
    /// A stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            RequestError::Head(error) => error.name(),
            RequestError::InvalidMethod => "invalid_method",
            RequestError::TargetTooLong { .. } => "target_too_long",
            RequestError::InvalidTarget => "invalid_target",
            RequestError::MissingHost => "missing_host",
            RequestError::RepeatedHost => "repeated_host",
            RequestError::InvalidHost => "invalid_host",
            RequestError::HostMismatch => "host_mismatch",
            RequestError::TooManyEmptyLines { .. } => "too_many_empty_lines",
        }
    }
}

/// Why a response was refused. The connection that it came on is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// Something that requests and responses share.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The status is not three digits from 100 up.
    #[error("status is not a number from 100 to 999")]
    InvalidStatus,
}

impl ResponseError {
    /// A stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            ResponseError::Head(error) => error.name(),
            ResponseError::InvalidStatus => "invalid_status",
        }
    }
}

/// What is wrong with a body's framing. The connection that it came on is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// A chunk size that is no hexadecimal number, or is followed by junk.
    #[error("chunk size holds byte {found:#04x}")]
    InvalidChunkSize {
        /// The byte in the way.
        found: u8,
    },
    /// A chunk size of more than 16 digits.
    #[error("chunk size does not fit 64 bits")]
    ChunkTooLarge,
    /// A control character in a chunk extension.
    #[error("chunk extension holds byte {found:#04x}")]
    InvalidChunkExtension {
        /// The byte in the way.
        found: u8,
    },
    /// More extension bytes in a message than allowed.
    #[error("chunk extensions of more than {max} bytes")]
    ChunkExtensionTooLong {
        /// The limit.
        max: u32,
    },
    /// A chunk, or a line of the framing, is not followed by CRLF.
    #[error("expected CRLF, found byte {found:#04x}")]
    InvalidLineEnd {
        /// The byte in the way.
        found: u8,
    },
    /// A trailer section over its limit.
    #[error("trailers of more than {max} bytes")]
    TrailersTooLarge {
        /// The limit.
        max: u32,
    },
    /// A trailer section with too many fields.
    #[error("more than {max} trailer fields")]
    TooManyTrailers {
        /// The limit.
        max: u32,
    },
    /// A trailer line that is no field.
    #[error("a trailer line is no field")]
    InvalidTrailer,
    /// The stream ended inside the body.
    #[error("the stream ended inside the body")]
    Truncated,
}

impl BodyError {
    /// A stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            BodyError::InvalidChunkSize { .. } => "invalid_chunk_size",
            BodyError::ChunkTooLarge => "chunk_too_large",
            BodyError::InvalidChunkExtension { .. } => "invalid_chunk_extension",
            BodyError::ChunkExtensionTooLong { .. } => "chunk_extension_too_long",
            BodyError::InvalidLineEnd { .. } => "invalid_chunk_line_end",
            BodyError::TrailersTooLarge { .. } => "trailers_too_large",
            BodyError::TooManyTrailers { .. } => "too_many_trailers",
            BodyError::InvalidTrailer => "invalid_trailer",
            BodyError::Truncated => "body_truncated",
        }
    }
}

/// Why an edit of a head was refused; the head is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EditError {
    /// The name is not a token.
    #[error("name is not a token")]
    InvalidName,
    /// The value holds a control character.
    #[error("value holds a control character")]
    InvalidValue,
    /// The method, path, authority or status is malformed.
    #[error("not a valid {what}")]
    Invalid {
        /// Which part of the head.
        what: &'static str,
    },
    /// The field frames or routes the message; it follows from the head's own attributes.
    #[error("the field is written by the codec alone")]
    Reserved,
    /// There is no field at that index.
    #[error("no field at index {index}")]
    NoSuchField {
        /// The index asked for.
        index: usize,
    },
    /// The edited head would hold too many bytes (those of former values included).
    #[error("head would grow beyond {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// The edited head would hold too many fields (removed ones included).
    #[error("head would have more than {max} fields")]
    TooManyFields {
        /// The limit.
        max: usize,
    },
}
