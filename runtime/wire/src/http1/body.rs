//! Finding a body's bytes: by length, by chunks, or until the sender closes.
//!
//! The decoder never asks for the same byte twice: whatever it is given it takes, so the caller
//! buffers nothing for it. Chunks follow RFC 9112 §7.1 to the letter; the extensions are dropped,
//! since no peer agrees on where a strange one ends.

use std::ops::Range;

use memchr::memchr;

use super::error::BodyError;
use super::field::DROPPED;
use super::fields::Fields;
use super::framing::Framing;
use super::gather::gather;
use super::known::Known;
use super::limits::{BodyLimits, FIELDS_CEILING, Lenient};

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyStep {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// The content among them; may be empty.
    pub data: Range<usize>,
    /// Whether the body is complete. What follows `consumed` belongs to the next message.
    pub done: bool,
}

/// The state of one body on its way in.
#[derive(Clone, Debug, Default)]
pub struct BodyDecoder {
    phase: Phase,
    /// Bytes left of the content (`Length`) or of the chunk (`Size` to `Data`).
    left: u64,
    /// Hexadecimal digits of the chunk size so far.
    digits: u8,
    extension_bytes: u32,
    trailer_lines: u32,
    limits: BodyLimits,
    lenient: Lenient,
    request: bool,
    trailers: Fields,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Done,
    Length,
    UntilClose,
    /// In the digits of a chunk size.
    Size,
    /// In the blanks that may stand between a size and the semicolon of an extension.
    Blank,
    Extension,
    /// Before the LF of a chunk size line.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Failed(BodyError),
}

impl BodyDecoder {
    /// A decoder for the body of a request.
    pub fn for_request(framing: Framing, limits: &BodyLimits, lenient: Lenient) -> BodyDecoder {
        let mut decoder =
            BodyDecoder { limits: *limits, lenient, request: true, ..BodyDecoder::default() };
        decoder.restart(framing);
        decoder
    }

    /// A decoder for the body of a response.
    pub fn for_response(framing: Framing, limits: &BodyLimits) -> BodyDecoder {
        let mut decoder = BodyDecoder { limits: *limits, ..BodyDecoder::default() };
        decoder.restart(framing);
        decoder
    }

    /// Begins another body with the same limits, keeping the buffers.
    pub fn restart(&mut self, framing: Framing) {
        self.left = 0;
        self.digits = 0;
        self.extension_bytes = 0;
        self.trailer_lines = 0;
        self.trailers.clear();
        self.phase = match framing {
            Framing::None | Framing::Length(0) => Phase::Done,
            Framing::Length(bytes) => {
                self.left = bytes;
                Phase::Length
            }
            Framing::Chunked => Phase::Size,
            Framing::UntilClose => Phase::UntilClose,
        };
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The trailers, complete once the body is; those that RFC 9110 §6.5.1 forbids are dead.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// The trailers, to edit them.
    pub fn trailers_mut(&mut self) -> &mut Fields {
        &mut self.trailers
    }

    /// Forgets the trailers: they go on in another way.
    pub fn clear_trailers(&mut self) {
        self.trailers.clear();
    }

    /// Adds a trailer of a protocol that frames bodies otherwise; those that RFC 9110 §6.5.1
    /// forbids are left out.
    ///
    /// # Errors
    /// When there are too many, or they are too large.
    pub fn put_trailer(&mut self, name: &[u8], value: &[u8]) -> Result<(), BodyError> {
        let max = self.limits.trailer_fields_max.min(FIELDS_CEILING as u32);
        if self.trailers.list.len() as u32 >= max {
            return Err(BodyError::TooManyTrailers { max });
        }
        let max = self.limits.trailer_bytes_max;
        // As it stands in HTTP/1: `name: value CRLF`.
        if self.trailers.bytes.len() + name.len() + value.len() + 4 > max as usize {
            return Err(BodyError::TrailersTooLarge { max });
        }
        if Known::of(name).is_forbidden_in_trailers() {
            return Ok(());
        }
        self.trailers.append(name, value).map_err(|_| BodyError::InvalidTrailer)
    }

    /// Takes the next bytes of the stream. Call again while `input` has bytes and the body is
    /// not done: one call yields at most one range of content.
    ///
    /// # Errors
    /// When the framing is malformed or over a limit; then also in every later call. The content
    /// before it has been handed out by then.
    pub fn decode(&mut self, input: &[u8]) -> Result<BodyStep, BodyError> {
        let start = match self.phase {
            Phase::UntilClose => {
                return Ok(BodyStep { consumed: input.len(), data: 0..input.len(), done: false });
            }
            Phase::Length => 0,
            _ => self.pass_framing(input, 0)?,
        };
        if !matches!(self.phase, Phase::Length | Phase::Data) {
            return Ok(BodyStep { consumed: start, data: start..start, done: self.is_done() });
        }
        let available = input.len() - start;
        let take = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= take as u64;
        let end = start + take;
        let mut consumed = end;
        if self.left == 0 {
            if self.phase == Phase::Length {
                self.phase = Phase::Done;
            } else {
                self.phase = Phase::DataCr;
                // An error in what follows is kept for the next call: this one has content.
                consumed = self.pass_framing(input, end).unwrap_or(end);
            }
        }
        Ok(BodyStep { consumed, data: start..end, done: self.is_done() })
    }

    /// What the end of the stream means.
    ///
    /// # Errors
    /// When bytes are missing (RFC 9112 §8).
    pub fn finish(&mut self) -> Result<(), BodyError> {
        match self.phase {
            Phase::Done | Phase::UntilClose => {
                self.phase = Phase::Done;
                Ok(())
            }
            Phase::Failed(error) => Err(error),
            _ => Err(BodyError::Truncated),
        }
    }

    /// Goes over chunk framing from `at` to the next content, the end of the body or of `input`.
    fn pass_framing(&mut self, input: &[u8], mut at: usize) -> Result<usize, BodyError> {
        while at < input.len() && !matches!(self.phase, Phase::Data | Phase::Done) {
            let outcome = match self.phase {
                Phase::Trailers => self.take_trailers(&input[at..]),
                Phase::Extension => self.take_extension(&input[at..]),
                phase => self.take_byte(phase, input[at]).map(|()| 1),
            };
            match outcome {
                Ok(taken) => at += taken,
                Err(error) => {
                    self.phase = Phase::Failed(error);
                    return Err(error);
                }
            }
        }
        match self.phase {
            Phase::Failed(error) => Err(error),
            _ => Ok(at),
        }
    }

    fn take_byte(&mut self, phase: Phase, byte: u8) -> Result<(), BodyError> {
        self.phase = match (phase, byte) {
            (Phase::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // RFC 9112 §7.1: a recipient must anticipate large numbers and not overflow.
                if self.digits == 16 {
                    return Err(BodyError::ChunkTooLarge);
                }
                self.digits += 1;
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
                Phase::Size
            }
            (Phase::Size, found) if self.digits == 0 => {
                return Err(BodyError::InvalidChunkSize { found });
            }
            (Phase::Size, b'\r') => Phase::SizeLf,
            (Phase::Size | Phase::Blank, b';') => Phase::Extension,
            // RFC 9112 §7.1.1: blanks may stand before the semicolon, and nowhere else.
            (Phase::Size | Phase::Blank, b' ' | b'\t') => {
                self.count_extension(1)?;
                Phase::Blank
            }
            (Phase::Size | Phase::Blank, found) => {
                return Err(BodyError::InvalidChunkSize { found });
            }
            (Phase::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 { Phase::Trailers } else { Phase::Data }
            }
            (Phase::DataCr, b'\r') => Phase::DataLf,
            (Phase::DataLf, b'\n') => Phase::Size,
            (Phase::Failed(error), _) => return Err(error),
            (_, found) => return Err(BodyError::InvalidLineEnd { found }),
        };
        Ok(())
    }

    /// Passes over extension bytes up to the CR; the line must then end in LF.
    fn take_extension(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let end = input.iter().position(|&byte| is_control(byte)).unwrap_or(input.len());
        self.count_extension(end)?;
        match input.get(end) {
            None => Ok(end),
            Some(b'\r') => {
                self.phase = Phase::SizeLf;
                Ok(end + 1)
            }
            Some(&found) => Err(BodyError::InvalidChunkExtension { found }),
        }
    }

    fn count_extension(&mut self, bytes: usize) -> Result<(), BodyError> {
        let max = self.limits.extension_bytes_max;
        let over = BodyError::ChunkExtensionTooLong { max };
        let bytes = u32::try_from(bytes).map_err(|_| over)?;
        self.extension_bytes = self.extension_bytes.saturating_add(bytes);
        if self.extension_bytes > max { Err(over) } else { Ok(()) }
    }

    /// Takes one line of the trailer section, or what there is of it.
    fn take_trailers(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let max = self.limits.trailer_bytes_max;
        let buffer = &mut self.trailers.bytes;
        let room = (max as usize).saturating_sub(buffer.len());
        let window = &input[..input.len().min(room)];
        let Some(lf) = memchr(b'\n', window) else {
            if window.len() < input.len() {
                return Err(BodyError::TrailersTooLarge { max });
            }
            buffer.extend_from_slice(window);
            return Ok(window.len());
        };
        buffer.extend_from_slice(&window[..=lf]);
        if !buffer.ends_with(b"\r\n") {
            return Err(BodyError::InvalidLineEnd { found: b'\n' });
        }
        if buffer.len() == 2 || buffer.ends_with(b"\r\n\r\n") {
            self.understand_trailers()?;
            self.phase = Phase::Done;
            return Ok(lf + 1);
        }
        self.trailer_lines += 1;
        let max = self.limits.trailer_fields_max.min(FIELDS_CEILING as u32);
        if self.trailer_lines > max {
            return Err(BodyError::TooManyTrailers { max });
        }
        Ok(lf + 1)
    }

    fn understand_trailers(&mut self) -> Result<(), BodyError> {
        let Fields { bytes, list } = &mut self.trailers;
        if bytes.len() > 2 {
            let mut slots = [httparse::EMPTY_HEADER; FIELDS_CEILING];
            let Ok(httparse::Status::Complete((_, headers))) =
                httparse::parse_headers(bytes, &mut slots)
            else {
                return Err(BodyError::InvalidTrailer);
            };
            gather(list, bytes, headers, self.lenient, self.request);
            for field in list.iter_mut().filter(|field| field.known.is_forbidden_in_trailers()) {
                field.flags |= DROPPED;
            }
        }
        bytes.truncate(bytes.len() - 2);
        Ok(())
    }
}

/// What an extension cannot hold: no control but the tab.
fn is_control(byte: u8) -> bool {
    byte == 0x7f || (byte < b' ' && byte != b'\t')
}
