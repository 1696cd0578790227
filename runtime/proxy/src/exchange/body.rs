//! A body on its way through: found in what one side sends, framed again for the other.
//!
//! The same for both directions. Nothing is buffered here: what a chunk holds goes into the send
//! that the caller is filling, large pieces from where they lie.

use penstock_env::{Chunk, SendBuf, Stream};
use penstock_wire::grpc::Messages;
use penstock_wire::http1::{BodyDecoder, BodyError, Framing, chunk};

use crate::downstream::Rest;
use crate::failure::Cause;
use crate::grpc::web::WebBody;

/// One body's passage.
#[derive(Debug, Default)]
pub(crate) struct Passage {
    /// Finds the content in what comes in.
    pub(crate) decoder: BodyDecoder,
    /// How the content goes out.
    framing: Framing,
    /// Bytes of content so far.
    pub(crate) content_bytes: u64,
    /// Bytes as received, framing included.
    pub(crate) received_bytes: u64,
    finished: bool,
    /// Takes a copy of the content while a push lasts.
    keep: Option<Vec<u8>>,
    /// Counts the messages of a gRPC call.
    pub(crate) messages: Option<Messages>,
    /// Makes gRPC of gRPC-Web, where that is what comes in.
    pub(crate) web: Option<WebBody>,
}

impl Passage {
    /// Begins another body, found by `decoder`.
    pub(crate) fn begin(&mut self, decoder: BodyDecoder) {
        *self = Passage { decoder, ..Passage::default() };
    }

    /// Begins a body that does not exist.
    pub(crate) fn begin_nothing(&mut self) {
        self.decoder.restart(Framing::None);
        self.framing = Framing::None;
        self.content_bytes = 0;
        self.received_bytes = 0;
        self.finished = false;
        self.web = None;
        self.messages = None;
    }

    /// How the content goes out: to be said before any does.
    pub(crate) fn frame_as(&mut self, framing: Framing) {
        self.framing = framing;
    }

    /// How the content goes out.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// Finds content without passing it on: appends it to `content`. What lies behind the
    /// body's end goes back to `from`.
    ///
    /// # Errors
    /// The framing is malformed.
    pub(crate) fn decode_into<S: Stream>(
        &mut self,
        mut chunk: S::Chunk,
        from: &S,
        content: &mut Vec<u8>,
    ) -> Result<(), BodyError> {
        while !chunk.is_empty() && !self.decoder.is_done() {
            let step = self.decoder.decode(&chunk)?;
            self.received_bytes += step.consumed as u64;
            content.extend_from_slice(&chunk[step.data]);
            chunk.advance(step.consumed);
        }
        if !chunk.is_empty() {
            from.unread(chunk);
        }
        Ok(())
    }

    /// Puts content that came through the filters into a send; `end` after the last of it.
    ///
    /// # Errors
    /// It is longer or shorter than the head said, which filters let stand.
    pub(crate) fn emit_filtered<C: Chunk>(
        &mut self,
        content: &[u8],
        end: bool,
        out: &mut SendBuf<C>,
    ) -> Result<(), Cause> {
        let bytes = self.content_bytes + content.len() as u64;
        match self.framing {
            Framing::Length(said) if bytes > said || (end && bytes < said) => {
                Err(Cause::FilterBodyLength)
            }
            _ => {
                self.emit(content, end, out);
                Ok(())
            }
        }
    }

    /// Puts content into a send; `end` after the last of it.
    pub(crate) fn emit<C: Chunk>(&mut self, content: &[u8], end: bool, out: &mut SendBuf<C>) {
        self.note(content);
        self.put(content, end, out);
    }

    /// Counts content that goes on in another form.
    pub(crate) fn note(&mut self, content: &[u8]) {
        if let Some(messages) = &mut self.messages {
            messages.feed(content);
        }
    }

    /// As [`Passage::emit`], of content that was noted.
    pub(crate) fn put<C: Chunk>(&mut self, content: &[u8], end: bool, out: &mut SendBuf<C>) {
        self.content_bytes += content.len() as u64;
        if !content.is_empty() {
            self.begin_piece(content.len(), out);
            out.push(content);
            self.end_piece(out);
        }
        if end && !self.finished {
            self.finish(out);
        }
    }

    /// What comes behind the send that was filled last.
    pub(crate) fn rest(&self) -> Rest<'_> {
        if self.finished { Rest::End(Some(self.decoder.trailers())) } else { Rest::More }
    }

    /// Whether content, or the body's end, was put into a send.
    pub(crate) fn has_begun(&self) -> bool {
        self.content_bytes > 0 || self.finished
    }

    /// Whether the whole body, its end included, was put into sends.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Takes what `from` sent: content goes to `out`, what lies behind the body's end back to
    /// `from`.
    ///
    /// # Errors
    /// The framing is malformed.
    pub(crate) fn push<S: Stream>(
        &mut self,
        mut chunk: S::Chunk,
        from: &S,
        out: &mut SendBuf<S::Chunk>,
    ) -> Result<(), BodyError> {
        loop {
            let step = self.decoder.decode(&chunk)?;
            self.note(&chunk[step.data.clone()]);
            if let Some(keep) = &mut self.keep {
                keep.extend_from_slice(&chunk[step.data.clone()]);
            }
            self.received_bytes += step.consumed as u64;
            self.content_bytes += step.data.len() as u64;
            if step.data.end == chunk.len() && !step.data.is_empty() {
                // The content reaches to the chunk's end: it goes on from where it lies.
                chunk.advance(step.data.start);
                self.content(chunk, out);
                if step.done {
                    self.finish(out);
                }
                return Ok(());
            }
            if !step.data.is_empty() {
                self.begin_piece(step.data.len(), out);
                out.push(&chunk[step.data]);
                self.end_piece(out);
            }
            chunk.advance(step.consumed);
            if step.done {
                self.finish(out);
                if !chunk.is_empty() {
                    from.unread(chunk);
                }
                return Ok(());
            }
            if chunk.is_empty() {
                return Ok(());
            }
        }
    }

    /// The sender's end of stream.
    ///
    /// # Errors
    /// The body is not complete.
    pub(crate) fn end<C: Chunk>(&mut self, out: &mut SendBuf<C>) -> Result<(), BodyError> {
        self.decoder.finish()?;
        self.finish(out);
        Ok(())
    }

    /// Ends a body that never began: one without content, or of length 0.
    pub(crate) fn finish_if_empty<C: Chunk>(&mut self, out: &mut SendBuf<C>) {
        if self.decoder.is_done() && !self.finished {
            self.finish(out);
        }
    }

    fn content<C: Chunk>(&mut self, chunk: C, out: &mut SendBuf<C>) {
        self.begin_piece(chunk.len(), out);
        out.push_chunk(chunk);
        self.end_piece(out);
    }

    fn begin_piece<C: Chunk>(&self, bytes: usize, out: &mut SendBuf<C>) {
        if self.framing == Framing::Chunked {
            out.write(|buffer| chunk::write_chunk_head(buffer, bytes));
        }
    }

    fn end_piece<C: Chunk>(&self, out: &mut SendBuf<C>) {
        if self.framing == Framing::Chunked {
            out.write(chunk::write_chunk_end);
        }
    }

    fn finish<C: Chunk>(&mut self, out: &mut SendBuf<C>) {
        self.finished = true;
        if self.framing == Framing::Chunked {
            let trailers = self.decoder.trailers();
            out.write(|buffer| chunk::write_last_chunk(buffer, Some(trailers)));
        }
    }
}

impl Passage {
    /// As [`Passage::push`], and keeps a copy of the content in `kept`, as long as all of it fits
    /// into `kept_max` bytes.
    ///
    /// # Errors
    /// The framing is malformed.
    pub(crate) fn push_kept<S: Stream>(
        &mut self,
        chunk: S::Chunk,
        from: &S,
        out: &mut SendBuf<S::Chunk>,
        kept: &mut Vec<u8>,
        kept_max: usize,
    ) -> Result<(), BodyError> {
        let before = self.content_bytes;
        let keeps = kept.len() as u64 == before && kept.len() + chunk.len() <= kept_max;
        self.keep = keeps.then(|| std::mem::take(kept));
        let pushed = self.push(chunk, from, out);
        if let Some(copy) = self.keep.take() {
            *kept = copy;
        }
        pushed
    }

    /// As [`Passage::push_kept`], of content that was found and counted already.
    pub(crate) fn push_content<C: Chunk>(
        &mut self,
        content: &[u8],
        out: &mut SendBuf<C>,
        kept: &mut Vec<u8>,
        kept_max: usize,
    ) {
        let before = self.content_bytes;
        if kept.len() as u64 == before && kept.len() + content.len() <= kept_max {
            kept.extend_from_slice(content);
        }
        self.emit(content, false, out);
    }

    /// Sends content that went up before once more, framed as this body is.
    pub(crate) fn replay<C: Chunk>(&mut self, content: &[u8], out: &mut SendBuf<C>) {
        if !content.is_empty() {
            self.begin_piece(content.len(), out);
            out.push(content);
            self.end_piece(out);
        }
        if std::mem::take(&mut self.finished) {
            self.finish(out);
        }
    }
}
