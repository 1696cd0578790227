//! A stream that is plain, or sealed by a TLS session.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use penstock_env::{Address, CloseKind, Env, Part, SendBuf, Stream, Time, Wake};
use penstock_tls::{Received, Session};

use super::chunk::{Bytes, SecureChunk, lower};

/// A connected byte stream, encrypted or not.
pub struct SecureStream<E: Env> {
    raw: E::Stream,
    /// Boxed, so that a plain stream carries a pointer and no more.
    sealed: Option<Box<Sealed<E>>>,
    /// Its ends as the proxy before us has them.
    ends: Option<Box<Ends>>,
}

/// Both ends of the connection that a proxy before us speaks for.
pub(crate) struct Ends {
    pub(crate) peer: Address,
    pub(crate) local: Address,
}

struct Sealed<E: Env> {
    env: E,
    state: RefCell<State<E>>,
}

struct State<E: Env> {
    session: Session,
    /// Plain bytes that come next.
    next: Option<SecureChunk<E>>,
    /// What comes behind them, the last first. Rarely is there any, and an idle connection shall
    /// not carry the room for it.
    later: Vec<SecureChunk<E>>,
    /// What the protocol has to say, in front of the next record.
    pending: Vec<u8>,
    /// Something came since the handshake.
    spoken: bool,
    /// The peer has said that it ended.
    ended: bool,
    /// A record was wrong: nothing more is read or written.
    broken: bool,
    /// Our end is to follow the send under way.
    ending: bool,
    /// Our close_notify is out.
    closed: bool,
}

impl<E: Env> SecureStream<E> {
    /// A stream that nothing was agreed on yet.
    pub(crate) fn plain(raw: E::Stream) -> SecureStream<E> {
        SecureStream { raw, sealed: None, ends: None }
    }

    /// The same stream, with a session whose handshake is over. `early` are plain bytes that
    /// came with its last message.
    pub(crate) fn seal(self, env: &E, session: Session, early: Vec<u8>) -> SecureStream<E> {
        assert!(self.sealed.is_none(), "one session per stream");
        let spoken = !early.is_empty();
        let next = spoken.then(|| SecureChunk::opened(env, early));
        let state = State {
            session,
            next,
            later: Vec::new(),
            pending: Vec::new(),
            spoken,
            ended: false,
            broken: false,
            ending: false,
            closed: false,
        };
        let sealed = Sealed { env: env.clone(), state: RefCell::new(state) };
        SecureStream { raw: self.raw, sealed: Some(Box::new(sealed)), ends: self.ends }
    }

    /// The same stream, of the connection that the proxy before us speaks for.
    pub(crate) fn introduce(self, ends: Ends) -> SecureStream<E> {
        SecureStream { ends: Some(Box::new(ends)), ..self }
    }

    /// The stream below, of one that nothing was agreed on.
    ///
    /// # Panics
    /// When it is sealed.
    pub(super) fn into_plain(self) -> E::Stream {
        assert!(self.sealed.is_none(), "a session is not left behind");
        self.raw
    }

    /// The stream below.
    pub(super) fn below(&self) -> &E::Stream {
        &self.raw
    }

    /// The stream below, where nothing is between.
    pub(super) fn plain_below(&self) -> Option<&E::Stream> {
        self.sealed.is_none().then_some(&self.raw)
    }

    /// See [`Env::park`]. Records without plain bytes in them wake nobody.
    pub(crate) fn park(
        self,
        env: &E,
        until: Time,
        resume: impl FnOnce(SecureStream<E>, Wake) + 'static,
    ) {
        if self.sealed.is_some() && self.has_news() {
            return resume(self, Wake::Readable);
        }
        if let Some(sealed) = &self.sealed {
            sealed.settle();
        }
        let (SecureStream { raw, sealed, ends }, again) = (self, env.clone());
        env.park(raw, until, move |raw, wake| {
            let stream = SecureStream { raw, sealed, ends };
            if wake == Wake::Readable && stream.sealed.is_some() {
                return stream.park(&again, until, resume);
            }
            resume(stream, wake);
        });
    }

    /// Whether there are plain bytes, or an end, or an error.
    fn has_news(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match self.poll_recv(&mut context) {
            Poll::Ready(Ok(Some(chunk))) => {
                self.unread(chunk);
                true
            }
            Poll::Ready(_) => true,
            Poll::Pending => false,
        }
    }
}

impl<E: Env> Sealed<E> {
    fn poll_recv(
        &self,
        raw: &E::Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<SecureChunk<E>>>> {
        let state = &mut *self.state.borrow_mut();
        loop {
            if let Some(chunk) = state.take_unread() {
                return Poll::Ready(Ok(Some(chunk)));
            }
            if state.broken {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if state.ended {
                return Poll::Ready(Ok(None));
            }
            match ready!(raw.poll_recv(context))? {
                Some(chunk) => self.open(state, &chunk),
                // RFC 8446 §6.1: without a close_notify anybody could have cut it.
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// Lets the session settle, if it has been of use before. That costs a twentieth of a
    /// handshake: not for a connection that has one request.
    fn settle(&self) {
        let state = &mut *self.state.borrow_mut();
        if state.spoken {
            state.session.settle(&mut state.pending);
        }
    }

    fn open(&self, state: &mut State<E>, bytes: &[u8]) {
        if std::mem::replace(&mut state.spoken, true) {
            state.session.settle(&mut state.pending);
        }
        let mut plain = self.env.buffer();
        state.session.lend(|| self.env.buffer());
        match state.session.receive(bytes, &mut plain, &mut state.pending) {
            Ok(Received::Closed) => state.ended = true,
            Ok(Received::Open | Received::Handshaking) => {}
            Err(error) => {
                tracing::debug!(%error, "a TLS record was wrong");
                state.broken = true;
            }
        }
        if let Some(buffer) = state.session.give_back() {
            self.env.recycle(buffer);
        }
        match plain.is_empty() {
            true => self.env.recycle(plain),
            false => state.put_unread(SecureChunk::opened(&self.env, plain)),
        }
    }

    fn start_send(&self, raw: &E::Stream, data: SendBuf<SecureChunk<E>>) {
        let state = &mut *self.state.borrow_mut();
        let (bytes, parts) = data.into_parts();
        let nothing = bytes.is_empty() && parts.is_empty();
        if !nothing && !state.broken {
            let mut out = SendBuf::new(self.env.buffer());
            out.write(|out| state.broken = state.write(&bytes, &parts, out).is_err());
            if !state.broken {
                raw.start_send(out);
            }
        }
        self.env.recycle(bytes);
    }

    /// Says our end once nothing is under way, if it is wanted.
    fn end(&self, raw: &E::Stream) {
        let state = &mut *self.state.borrow_mut();
        if state.ending && !state.closed {
            state.closed = true;
            raw.start_send(state.farewell(&self.env));
            raw.shutdown_write();
        }
    }
}

impl<E: Env> State<E> {
    /// Puts plain bytes in front of all others.
    fn put_unread(&mut self, chunk: SecureChunk<E>) {
        if let Some(behind) = self.next.replace(chunk) {
            self.later.push(behind);
        }
    }

    fn take_unread(&mut self) -> Option<SecureChunk<E>> {
        std::mem::replace(&mut self.next, self.later.pop())
    }

    fn write(
        &mut self,
        bytes: &[u8],
        parts: &[Part<SecureChunk<E>>],
        out: &mut Vec<u8>,
    ) -> Result<(), penstock_tls::SessionError> {
        out.append(&mut self.pending);
        if parts.is_empty() {
            return self.session.seal(bytes, out);
        }
        let mut rest = bytes;
        for part in parts {
            match part {
                Part::Own(count) => {
                    let (own, behind) = rest.split_at(*count);
                    self.session.seal(own, out)?;
                    rest = behind;
                }
                Part::Chunk(chunk) => self.session.seal(chunk, out)?,
            }
        }
        Ok(())
    }

    /// Our close_notify, or the alert of what was wrong.
    fn farewell(&mut self, env: &E) -> SendBuf<<E::Stream as Stream>::Chunk> {
        let mut out = SendBuf::new(env.buffer());
        out.write(|out| {
            out.append(&mut self.pending);
            self.session.close(out);
        });
        out
    }
}

impl<E: Env> Stream for SecureStream<E> {
    type Chunk = SecureChunk<E>;

    #[inline]
    fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<SecureChunk<E>>>> {
        match &self.sealed {
            None => {
                let received = ready!(self.raw.poll_recv(context))?;
                Poll::Ready(Ok(received.map(|chunk| SecureChunk(Bytes::Lent(chunk)))))
            }
            Some(sealed) => sealed.poll_recv(&self.raw, context),
        }
    }

    #[inline]
    fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.sealed {
            Some(sealed) if sealed.state.borrow().broken => Poll::Ready(()),
            _ => self.raw.poll_broken(context),
        }
    }

    #[inline]
    fn unread(&self, chunk: SecureChunk<E>) {
        match (&self.sealed, chunk) {
            (Some(sealed), chunk) => sealed.state.borrow_mut().put_unread(chunk),
            (None, SecureChunk(Bytes::Lent(chunk))) => self.raw.unread(chunk),
            (None, SecureChunk(Bytes::Opened(_))) => {
                panic!("a chunk is put back into the stream that it came from")
            }
        }
    }

    #[inline]
    fn start_send(&self, data: SendBuf<SecureChunk<E>>) {
        match &self.sealed {
            None => self.raw.start_send(lower(data)),
            Some(sealed) => sealed.start_send(&self.raw, data),
        }
    }

    fn start_last_send(&self, data: SendBuf<SecureChunk<E>>) {
        match &self.sealed {
            None => self.raw.start_last_send(lower(data)),
            // Our close_notify comes behind it.
            Some(sealed) => sealed.start_send(&self.raw, data),
        }
    }

    #[inline]
    fn poll_sent(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.raw.poll_sent(context))?;
        let Some(sealed) = &self.sealed else { return Poll::Ready(Ok(())) };
        sealed.end(&self.raw);
        let state = sealed.state.borrow();
        match state.broken && !state.closed {
            true => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            false => self.raw.poll_sent(context),
        }
    }

    #[inline]
    fn unsent_bytes(&self) -> usize {
        let owed = self.sealed.as_ref().is_some_and(|sealed| {
            let state = sealed.state.borrow();
            state.ending && !state.closed
        });
        self.raw.unsent_bytes() + usize::from(owed)
    }

    fn unacknowledged_bytes(&self) -> usize {
        self.raw.unacknowledged_bytes()
    }

    fn shutdown_write(&self) {
        let Some(sealed) = &self.sealed else { return self.raw.shutdown_write() };
        sealed.state.borrow_mut().ending = true;
        // The writer calls this, so nobody else waits for the send.
        let mut context = Context::from_waker(Waker::noop());
        if self.raw.poll_sent(&mut context).is_ready() {
            sealed.end(&self.raw);
        }
    }

    fn reset_if_dropped(&self) {
        self.raw.reset_if_dropped();
    }

    fn close(self, kind: CloseKind) {
        if let Some(sealed) = &self.sealed
            && kind == CloseKind::Now
        {
            let state = &mut *sealed.state.borrow_mut();
            let mut context = Context::from_waker(Waker::noop());
            if !state.closed && matches!(self.raw.poll_sent(&mut context), Poll::Ready(Ok(()))) {
                state.closed = true;
                self.raw.start_send(state.farewell(&sealed.env));
            }
        }
        self.raw.close(kind);
    }

    fn peer(&self) -> &Address {
        self.ends.as_ref().map_or_else(|| self.raw.peer(), |ends| &ends.peer)
    }

    fn local(&self) -> &Address {
        self.ends.as_ref().map_or_else(|| self.raw.local(), |ends| &ends.local)
    }
}
