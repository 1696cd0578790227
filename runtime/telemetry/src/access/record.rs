//! What is kept of a request: a value of fixed size that owns nothing, so filling it allocates
//! nothing and a ring can carry it, or have it filled in where it lies.

use std::net::{IpAddr, SocketAddr};

use penstock_env::{Address, Unix};

/// Bytes for all texts of a record together; it keeps the record within 512 bytes.
pub const TEXT_BYTES_MAX: usize = 320;

/// One request (or connection, for protocols without requests), as the access log shows it.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord {
    /// When the first byte of the request arrived.
    pub start: Unix,
    /// From then until the last byte of the answer was sent, in microseconds.
    pub total_us: u64,
    /// Where the time went.
    pub phases: Phases,
    /// Received from downstream, head and framing included.
    pub bytes_in: u64,
    /// Sent downstream, head and framing included.
    pub bytes_out: u64,
    /// The trace id (W3C) or a request id of ours; zeros for none.
    pub trace_id: [u8; 16],
    /// Who connected.
    pub downstream: Peer,
    /// Who asked, where somebody else connected for them who is believed.
    pub client: Option<IpAddr>,
    /// Who answered, or was tried last.
    pub endpoint: Peer,
    /// Which snapshot the indexes below belong to.
    pub snapshot: u32,
    /// Index of the route that matched.
    pub route: Option<u32>,
    /// Index of the cluster that was chosen.
    pub cluster: Option<u16>,
    /// Index of the cause, where we made the answer or cut the connection.
    pub cause: Option<u16>,
    /// Index of the listener; means nothing where there is a service.
    pub listener: u16,
    /// Index of the service, of what came in at one.
    pub service: Option<u16>,
    /// The status sent; 0 where the protocol has none or nothing was sent.
    pub status: u16,
    /// Index of the code that a gRPC call ended with.
    pub code: Option<u8>,
    /// How many endpoints were tried.
    pub attempts: u8,
    /// What was spoken downstream.
    pub protocol: Protocol,
    /// What its TLS handshake agreed on, if it had one.
    pub tls: Option<Tls>,
    texts: Texts,
}

/// How long each phase took, in microseconds; 0 for one that did not happen. They saturate at
/// 71 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// First byte of the request to the end of its head.
    pub head_us: u32,
    /// In filters, all calls together.
    pub filters_us: u32,
    /// Waiting for a place (cluster limits).
    pub queue_us: u32,
    /// Connecting to the endpoint, the attempts that failed included.
    pub connect_us: u32,
    /// Request sent to the first byte of the response.
    pub first_byte_us: u32,
}

/// An address that fits a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Nobody.
    #[default]
    None,
    /// IP address and port.
    Ip(IpAddr, u16),
    /// A unix socket; its path is not kept.
    Unix,
}

impl From<&Address> for Peer {
    #[inline]
    fn from(address: &Address) -> Self {
        match address {
            Address::Ip(address) => Peer::Ip(address.ip(), address.port()),
            Address::Unix(_) => Peer::Unix,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Peer::None => f.write_str("-"),
            Peer::Ip(ip, port) => SocketAddr::new(ip, port).fmt(f),
            Peer::Unix => f.write_str("unix:"),
        }
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Bytes that nobody parses.
    #[default]
    Tcp,
    /// Datagrams that nobody parses.
    Udp,
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// The Redis protocol.
    Redis,
}

impl Protocol {
    /// As it is written in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::Grpc => "gRPC",
            Protocol::Redis => "Redis",
        }
    }
}

/// What a TLS handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Index of the cipher suite, which tells the version too.
    pub suite: u8,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// The texts of a record. Set them in the order of their worth: they share
/// [`TEXT_BYTES_MAX`] bytes, and what does not fit is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The method; at most 16 bytes are kept.
    Method,
    /// The authority asked for; at most 96 bytes.
    Host,
    /// The target as received; at most 208 bytes.
    Path,
    /// What the downstream calls itself; at most 96 bytes.
    UserAgent,
    /// Where it comes from; at most 96 bytes.
    Referer,
    /// The name that was asked for in a TLS handshake; at most 96 bytes.
    Sni,
    /// What a filter said of why it answered, or failed; at most 64 bytes.
    Detail,
}

impl Text {
    /// All of them, in the order of their numbers.
    pub const ALL: [Text; 7] = [
        Text::Method,
        Text::Host,
        Text::Path,
        Text::UserAgent,
        Text::Referer,
        Text::Sni,
        Text::Detail,
    ];

    /// Those of every request.
    pub const OF_REQUEST: [Text; 5] =
        [Text::Method, Text::Host, Text::Path, Text::UserAgent, Text::Referer];

    /// Its name in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Text::Method => "method",
            Text::Host => "host",
            Text::Path => "path",
            Text::UserAgent => "user_agent",
            Text::Referer => "referer",
            Text::Sni => "sni",
            Text::Detail => "detail",
        }
    }

    fn bytes_max(self) -> usize {
        match self {
            Text::Method => 16,
            Text::Detail => 64,
            Text::Path => 208,
            Text::Host | Text::UserAgent | Text::Referer | Text::Sni => 96,
        }
    }
}

/// Bytes of several texts one after the other, and where each lies.
#[derive(Clone, Copy, Debug)]
struct Texts {
    spans: [(u16, u16); Text::ALL.len()],
    used: u16,
    /// One bit for each text that was cut.
    cut: u8,
    bytes: [u8; TEXT_BYTES_MAX],
}

impl AccessRecord {
    /// An empty record of something that began at `start`.
    #[inline]
    pub fn new(start: Unix) -> Self {
        AccessRecord {
            start,
            total_us: 0,
            phases: Phases::default(),
            bytes_in: 0,
            bytes_out: 0,
            trace_id: [0; 16],
            downstream: Peer::None,
            client: None,
            endpoint: Peer::None,
            snapshot: 0,
            route: None,
            cluster: None,
            cause: None,
            listener: 0,
            service: None,
            status: 0,
            code: None,
            attempts: 0,
            protocol: Protocol::Tcp,
            tls: None,
            texts: Texts {
                spans: [(0, 0); Text::ALL.len()],
                used: 0,
                cut: 0,
                bytes: [0; TEXT_BYTES_MAX],
            },
        }
    }

    /// Makes the record that of something that began at `start`, whatever it was before. The bytes
    /// of its texts stay where they are, out of reach: in a ring they need not be written.
    #[inline]
    pub fn begin(&mut self, start: Unix) {
        // All fields by name, so that a new one can't be forgotten here.
        let AccessRecord {
            start: began,
            total_us,
            phases,
            bytes_in,
            bytes_out,
            trace_id,
            downstream,
            client,
            endpoint,
            snapshot,
            route,
            cluster,
            cause,
            listener,
            service,
            status,
            code,
            attempts,
            protocol,
            tls,
            texts: Texts { spans, used, cut, bytes: _ },
        } = self;
        *began = start;
        (*total_us, *bytes_in, *bytes_out) = (0, 0, 0);
        *phases = Phases::default();
        *trace_id = [0; 16];
        (*downstream, *endpoint) = (Peer::None, Peer::None);
        (*snapshot, *listener) = (0, 0);
        (*service, *route, *cluster, *cause) = (None, None, None, None);
        (*status, *attempts, *protocol) = (0, 0, Protocol::Tcp);
        (*tls, *code, *client) = (None, None, None);
        *spans = [(0, 0); Text::ALL.len()];
        (*used, *cut) = (0, 0);
    }

    /// Keeps `bytes` as `text`, or as much of it as fits; whether it was cut is kept too. A
    /// second call for the same text replaces the first, whose room is lost.
    #[inline]
    pub fn put(&mut self, text: Text, bytes: &[u8]) {
        let texts = &mut self.texts;
        let used = usize::from(texts.used);
        let len = bytes.len().min(text.bytes_max()).min(TEXT_BYTES_MAX - used);
        texts.bytes[used..used + len].copy_from_slice(&bytes[..len]);
        texts.spans[text as usize] = (texts.used, len as u16);
        texts.used += len as u16;
        let bit = 1 << text as u8;
        texts.cut = if len < bytes.len() { texts.cut | bit } else { texts.cut & !bit };
    }

    /// Keeps these as the texts of a record that has none, in the order of [`Text::OF_REQUEST`].
    ///
    /// It reads nothing of the record: in a ring that is larger than the cache, a load that has to
    /// wait for its line costs more than all that is stored.
    #[inline]
    pub fn put_all(&mut self, values: [&[u8]; Text::OF_REQUEST.len()]) {
        let (mut used, mut cut) = (0, 0);
        for (text, bytes) in Text::OF_REQUEST.into_iter().zip(values) {
            let len = bytes.len().min(text.bytes_max()).min(TEXT_BYTES_MAX - used);
            self.texts.bytes[used..used + len].copy_from_slice(&bytes[..len]);
            self.texts.spans[text as usize] = (used as u16, len as u16);
            used += len;
            cut |= u8::from(len < bytes.len()) << text as u8;
        }
        (self.texts.used, self.texts.cut) = (used as u16, cut);
    }

    /// What was kept of `text`; empty when it was never put.
    pub fn text(&self, text: Text) -> &[u8] {
        let (start, len) = self.texts.spans[text as usize];
        &self.texts.bytes[usize::from(start)..usize::from(start + len)]
    }

    /// Whether any text was longer than what was kept.
    pub fn is_any_cut(&self) -> bool {
        self.texts.cut != 0
    }

    /// Whether `text` was longer than what was kept.
    pub fn is_cut(&self, text: Text) -> bool {
        self.texts.cut & (1 << text as u8) != 0
    }
}

/// A ring of 4,096 of them is 2 MiB.
const _: () = assert!(size_of::<AccessRecord>() <= 512);
