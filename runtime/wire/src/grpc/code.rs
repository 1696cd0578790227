//! Status codes: what `grpc-status` says, and what stands for an HTTP status without it.

/// The outcome of a call (gRPC's `statuscodes.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// It went well.
    Ok = 0,
    /// The caller gave it up.
    Cancelled = 1,
    /// Nobody knows better.
    Unknown = 2,
    /// The argument is wrong, whatever the state.
    InvalidArgument = 3,
    /// The deadline came first.
    DeadlineExceeded = 4,
    /// What was asked for is not there.
    NotFound = 5,
    /// What was to be made is there.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// Something has run out: a quota, a disk.
    ResourceExhausted = 8,
    /// The state is not one in which it can be done.
    FailedPrecondition = 9,
    /// It met another in the way.
    Aborted = 10,
    /// Past the end.
    OutOfRange = 11,
    /// No such method.
    Unimplemented = 12,
    /// Something that must not be.
    Internal = 13,
    /// Nobody there now; another try may find somebody.
    Unavailable = 14,
    /// Data is lost or damaged.
    DataLoss = 15,
    /// The caller has not said who it is.
    Unauthenticated = 16,
}

impl Code {
    /// How many codes there are.
    pub const COUNT: usize = 17;

    /// The names in the specification, by number.
    pub const NAMES: [&'static str; Code::COUNT] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    /// Every code, by number.
    pub const ALL: [Code; Code::COUNT] = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    /// What a `grpc-status` field says. A number that is no code of ours reads as
    /// [`Code::Unknown`], as clients read it; anything else is `None`.
    pub fn of_field(value: &[u8]) -> Option<Code> {
        let number = match *value {
            [one @ b'0'..=b'9'] => u32::from(one - b'0'),
            [ten @ b'1'..=b'9', one @ b'0'..=b'9'] => u32::from((ten - b'0') * 10 + (one - b'0')),
            // `PROTOCOL-HTTP2.md`: Status is digits without leading zeros.
            [b'1'..=b'9', ..] if value.iter().all(u8::is_ascii_digit) => u32::MAX,
            _ => return None,
        };
        Some(Code::of_number(number))
    }

    /// The code of this number; [`Code::Unknown`] for one that has no meaning.
    pub fn of_number(number: u32) -> Code {
        Code::ALL.get(number as usize).copied().unwrap_or(Code::Unknown)
    }

    /// What an answer of this HTTP status means that has no `grpc-status`
    /// (`http-grpc-status-mapping.md`).
    pub fn of_http_status(status: u16) -> Code {
        match status {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// Its name in the specification: `DEADLINE_EXCEEDED`.
    pub fn name(self) -> &'static str {
        Code::NAMES[self as usize]
    }

    /// Its number, as `grpc-status` has it.
    pub fn digits(self) -> &'static str {
        DIGITS[self as usize]
    }
}

const DIGITS: [&str; Code::COUNT] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
