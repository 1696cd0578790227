//! Strict reading of HTTP/1 and paced writing, for actors: small, slow, and nobody else's code.

use std::cell::RefCell;
use std::time::Duration;

use penstock_env::{Address, Env, Rng, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_tests::sim::{SimEnv, SimStream};

use super::plan::{Framing, Pace, Text};

/// Why reading or writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection was reset.
    Reset,
    /// It ended where something was still to come.
    Cut,
    /// Nothing happened for a long time.
    Slow,
    /// We gave up as planned.
    GaveUp,
}

/// One side of a connection.
pub(crate) struct Wire {
    pub(crate) env: SimEnv,
    pub(crate) stream: SimStream,
    buffer: RefCell<Vec<u8>>,
    rng: RefCell<Rng>,
}

/// A message's head: its first line and its fields, names in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
}

/// What a body has to be.
pub(crate) struct Expected<'a> {
    /// Who reads, for the failure's text.
    pub(crate) who: &'a str,
    /// The text that must come, or anything.
    pub(crate) text: Option<Text>,
    /// Bytes so far.
    pub(crate) passed: u64,
    /// Where the reader gives up, if it does.
    pub(crate) give_up_at: Option<u64>,
}

impl<'a> Expected<'a> {
    pub(crate) fn text(who: &'a str, text: Text) -> Expected<'a> {
        Expected { who, text: Some(text), passed: 0, give_up_at: None }
    }

    pub(crate) fn anything(who: &'a str) -> Expected<'a> {
        Expected { who, text: None, passed: 0, give_up_at: None }
    }

    fn check(&mut self, bytes: &[u8]) {
        self.passed += bytes.len() as u64;
        if let Some(text) = &mut self.text {
            text.check(self.who, bytes);
        }
    }
}

/// Longer than any timeout of what is under test.
const PATIENCE: Duration = Duration::from_secs(200);
const HEAD_BYTES_MAX: usize = 64 * 1024;

impl Wire {
    pub(crate) fn new(env: SimEnv, stream: SimStream) -> Wire {
        let rng = RefCell::new(Rng::new(env.random()));
        Wire { env, stream, buffer: RefCell::default(), rng }
    }

    /// A connection, if it can be had.
    pub(crate) async fn connect(env: &SimEnv, to: &Address) -> Option<SimStream> {
        let timer = env.timer();
        timer.set(env.now() + PATIENCE);
        timer.race(env.connect(to)).await?.ok()
    }

    /// Sleeps.
    pub(crate) async fn sleep_on(env: &SimEnv, wait: Duration) {
        let timer = env.timer();
        timer.set(env.now() + wait);
        timer.expired().await;
    }

    /// Writes `bytes`, in pieces and with pauses.
    pub(crate) async fn write(&self, bytes: &[u8], pace: &Pace) -> Result<(), Broken> {
        // A long text is not sent byte by byte: a run would take ages.
        for piece in bytes.chunks(pace.piece_bytes.max(bytes.len() / 100)) {
            let mut data = SendBuf::new(self.env.buffer());
            data.push(piece);
            self.stream.start_send(data);
            let timer = self.env.timer();
            timer.set(self.env.now() + PATIENCE);
            match timer.race(self.stream.sent()).await {
                None => return Err(Broken::Slow),
                Some(Err(_)) => return Err(Broken::Reset),
                Some(Ok(())) => {}
            }
            self.pause(pace).await;
        }
        Ok(())
    }

    async fn pause(&self, pace: &Pace) {
        let pause = pace.pause(&mut self.rng.borrow_mut());
        if let Some(pause) = pause {
            Self::sleep_on(&self.env, pause).await;
        }
    }

    /// Some bytes more; false at the end.
    async fn fill(&self) -> Result<bool, Broken> {
        let timer = self.env.timer();
        timer.set(self.env.now() + PATIENCE);
        match timer.race(self.stream.recv()).await {
            None => Err(Broken::Slow),
            Some(Err(_)) => Err(Broken::Reset),
            Some(Ok(None)) => Ok(false),
            Some(Ok(Some(chunk))) => {
                self.buffer.borrow_mut().extend_from_slice(&chunk);
                Ok(true)
            }
        }
    }

    /// Waits until something can be read; false at the end.
    pub(crate) async fn more(&self) -> Result<bool, Broken> {
        while self.buffer.borrow().is_empty() {
            if !self.fill().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Closes without losing what was sent: with bytes of the peer unread, a close would be a
    /// reset, and that may overtake the answer (RFC 9112 §9.6).
    pub(crate) async fn linger(self) {
        self.stream.shutdown_write();
        let timer = self.env.timer();
        timer.set(self.env.now() + PATIENCE);
        let drain = async { while let Ok(Some(_)) = self.stream.recv().await {} };
        timer.race(drain).await;
    }

    /// Takes all that was read and not looked at.
    pub(crate) fn take_all(&self) -> Vec<u8> {
        std::mem::take(&mut self.buffer.borrow_mut())
    }

    /// A line with its CRLF taken off.
    ///
    /// # Panics
    /// When it holds a lone CR or LF, or is not ASCII.
    async fn line(&self) -> Result<String, Broken> {
        loop {
            let found = self.buffer.borrow().windows(2).position(|pair| pair == b"\r\n");
            if let Some(at) = found {
                let line: Vec<u8> = self.buffer.borrow_mut().drain(..at + 2).take(at).collect();
                let clean = line.iter().all(|&b| b == b'\t' || (b' '..=b'~').contains(&b));
                assert!(clean, "not a line of HTTP: {:?}", String::from_utf8_lossy(&line));
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            let held = self.buffer.borrow().len();
            assert!(held < HEAD_BYTES_MAX, "a line without an end");
            if !self.fill().await? {
                return Err(Broken::Cut);
            }
        }
    }

    /// A head; `None` at an end before its first byte.
    ///
    /// # Panics
    /// When it is no head (RFC 9112 §2.1, §5).
    pub(crate) async fn head(&self) -> Result<Option<Head>, Broken> {
        if !self.more().await? {
            return Ok(None);
        }
        let mut head = Head { line: self.line().await?, fields: Vec::new() };
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(Some(head));
            }
            let (name, value) = line.split_once(':').expect("a field has a colon");
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            assert!(!name.is_empty() && name.bytes().all(token), "no field name: {name:?}");
            head.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads a body and checks every byte of it. `Ok` only when it is complete.
    pub(crate) async fn body(
        &self,
        framing: (Framing, u64),
        text: &mut Expected<'_>,
        pace: &Pace,
    ) -> Result<(), Broken> {
        match framing {
            (Framing::None, _) => Ok(()),
            (Framing::Length, length) => self.counted(length, text, pace).await,
            (Framing::Close, _) => loop {
                match self.counted(1, text, pace).await {
                    Err(Broken::Cut) => return Ok(()),
                    other => other?,
                }
            },
            (Framing::Chunked, _) => {
                loop {
                    let line = self.line().await?;
                    // Extensions are not for us to forward (RFC 9112 §7.1.1).
                    assert!(line.bytes().all(|b| b.is_ascii_hexdigit()), "no size: {line:?}");
                    let size = u64::from_str_radix(&line, 16).expect("a size");
                    if size == 0 {
                        break;
                    }
                    self.counted(size, text, pace).await?;
                    assert_eq!(self.line().await?, "", "a chunk ends in CRLF");
                }
                while !self.line().await?.is_empty() {}
                Ok(())
            }
        }
    }

    /// Takes up to `most` bytes that were read; how many it took.
    fn take(&self, most: u64, text: &mut Expected<'_>) -> u64 {
        let mut buffer = self.buffer.borrow_mut();
        let count = buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        text.check(&buffer[..count]);
        buffer.drain(..count);
        count as u64
    }

    async fn counted(
        &self,
        mut left: u64,
        text: &mut Expected<'_>,
        pace: &Pace,
    ) -> Result<(), Broken> {
        while left > 0 {
            if text.give_up_at.is_some_and(|limit| text.passed >= limit) {
                return Err(Broken::GaveUp);
            }
            if !self.more().await? {
                return Err(Broken::Cut);
            }
            left -= self.take(left, text);
            self.pause(pace).await;
        }
        Ok(())
    }
}

impl Head {
    /// The value of a field that may be there once.
    ///
    /// # Panics
    /// When it is there more than once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|field| field.0 == name);
        let value = values.next().map(|field| field.1.as_str());
        assert!(values.next().is_none(), "{name} twice");
        value
    }

    /// The id that the head carries.
    pub(crate) fn id(&self) -> Option<u64> {
        self.field("x-id").map(|id| u64::from_str_radix(id, 16).expect("ids are ours"))
    }

    /// Whether `Connection` says so.
    pub(crate) fn connection_has(&self, option: &str) -> bool {
        let lines = self.fields.iter().filter(|field| field.0 == "connection");
        lines.flat_map(|field| field.1.split(',')).any(|o| o.trim().eq_ignore_ascii_case(option))
    }

    /// How the body is delimited by the fields; a length of 0 for the other kinds.
    ///
    /// # Panics
    /// When the fields leave a doubt (RFC 9112 §6.3).
    pub(crate) fn framing(&self, otherwise: Framing) -> (Framing, u64) {
        match (self.field("content-length"), self.field("transfer-encoding")) {
            (Some(_), Some(_)) => panic!("a length and a transfer coding: {self:?}"),
            (Some(length), None) => {
                assert!(length.bytes().all(|b| b.is_ascii_digit()), "no length: {length:?}");
                (Framing::Length, length.parse().expect("a length"))
            }
            (None, Some(coding)) => {
                assert_eq!(coding.to_ascii_lowercase(), "chunked");
                (Framing::Chunked, 0)
            }
            (None, None) => (otherwise, 0),
        }
    }
}
