//! The fields of a head: one buffer of bytes, spans into it, and edits that keep both valid.
//!
//! An edit writes a whole new line at the end of the buffer and points the field at it, so order
//! and neighbours stay, and every field is at all times a line that can be copied as it stands.

use super::error::EditError;
use super::field::{Field, REMOVED, Span};
use super::known::{Known, KnownSet};
use super::limits::FIELDS_CEILING;
use super::token;

/// The bytes that a head may grow to by edits, former values included (a head may come in with
/// 64 KiB).
pub const EDITED_BYTES_MAX: usize = 256 * 1024;

/// The fields of a request or a response.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub(super) bytes: Vec<u8>,
    pub(super) list: Vec<Field>,
}

impl Fields {
    /// The live fields in order, as name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.indexed().map(|(_, name, value)| (name, value))
    }

    /// The live fields in order, each with the index that [`Fields::set_value_at`] takes.
    pub fn indexed(&self) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
        self.list
            .iter()
            .enumerate()
            .filter(|(_, field)| field.is_live())
            .map(|(index, field)| (index, field.name.of(&self.bytes), field.value.of(&self.bytes)))
    }

    /// Every field that was received or written, the dead and the hop-by-hop ones too.
    pub fn all(&self) -> &[Field] {
        &self.list
    }

    /// The bytes that the spans of [`Fields::all`] point into.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of live fields.
    pub fn count(&self) -> usize {
        self.list.iter().filter(|field| field.is_live()).count()
    }

    /// The number of live fields that are not `known`.
    pub fn count_without(&self, known: Known) -> usize {
        self.list.iter().filter(|field| field.is_live() && field.known != known).count()
    }

    /// The value of the first live field called `name`, in any case.
    pub fn value_of(&self, name: &[u8]) -> Option<&[u8]> {
        let first = self.first(known_of(name), name);
        first.map(|index| self.list[index].value.of(&self.bytes))
    }

    /// The value of the first live field that is `known`.
    pub fn value_of_known(&self, known: Known) -> Option<&[u8]> {
        let field = self.list.iter().find(|field| field.known == known && field.is_live())?;
        Some(field.value.of(&self.bytes))
    }

    /// Whether a live field is among `set`.
    pub fn has_any(&self, set: KnownSet) -> bool {
        self.list.iter().any(|field| set.contains(field.known) && field.is_live())
    }

    /// The values of all live fields called `name`, in order.
    pub fn values_of<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let known = known_of(name);
        self.list
            .iter()
            .filter(move |field| field.is_live() && self.is_called(field, known, name))
            .map(|field| field.value.of(&self.bytes))
    }

    /// Adds a field after all others.
    ///
    /// # Errors
    /// Whatever [`EditError`] says of names, values, reserved fields and limits.
    pub fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), EditError> {
        let known = check_edit(name, value)?;
        self.push(known, name, value)
    }

    /// Gives the first field called `name` this value and removes the others; adds one if there
    /// is none. The name keeps the case in which it came.
    ///
    /// # Errors
    /// As [`Fields::append`].
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), EditError> {
        let known = check_edit(name, value)?;
        self.put(known, name, value)
    }

    /// Gives the live field at `index` (of [`Fields::indexed`]) this value.
    ///
    /// # Errors
    /// As [`Fields::append`], and when no live field has that index.
    pub fn set_value_at(&mut self, index: usize, value: &[u8]) -> Result<(), EditError> {
        let Some(field) = self.list.get(index).filter(|field| field.is_live()) else {
            return Err(EditError::NoSuchField { index });
        };
        if field.known.is_reserved() {
            return Err(EditError::Reserved);
        }
        check_value(value)?;
        self.rewrite(index, value)
    }

    /// Adds `value` to the list that the last field called `name` holds, after a comma; adds the
    /// field if there is none (RFC 9110 §5.3).
    ///
    /// # Errors
    /// As [`Fields::append`].
    pub fn join(&mut self, name: &[u8], value: &[u8]) -> Result<(), EditError> {
        let known = check_edit(name, value)?;
        let found = self
            .list
            .iter()
            .rposition(|field| field.is_live() && self.is_called(field, known, name));
        let Some(index) = found else { return self.push(known, name, value) };
        let old = self.list[index].value.range();
        let value = token::trim(value);
        let separator: &[u8] = if old.is_empty() { b"" } else { b", " };
        self.check_room(self.list[index].name.range().len() + old.len() + value.len() + 6)?;
        self.begin_line(index);
        let start = self.bytes.len();
        self.bytes.extend_from_within(old);
        self.bytes.extend_from_slice(separator);
        self.bytes.extend_from_slice(value);
        self.end_line(index, start);
        Ok(())
    }

    /// Removes every field called `name`; the answer is how many there were.
    ///
    /// # Errors
    /// When the field is written by the codec alone.
    pub fn remove(&mut self, name: &[u8]) -> Result<usize, EditError> {
        let known = known_of(name);
        if known.is_reserved() {
            return Err(EditError::Reserved);
        }
        let mut count = 0;
        for index in 0..self.list.len() {
            if self.list[index].is_live() && self.is_called(&self.list[index], known, name) {
                self.list[index].flags |= REMOVED;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Takes the length away, which edits don't reach.
    pub(super) fn remove_length(&mut self) {
        for field in self.list.iter_mut().filter(|field| field.known == Known::ContentLength) {
            field.flags |= REMOVED;
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
    }

    /// As [`Fields::set`] of a name that is `known`, without asking whether it is reserved or the
    /// bytes are valid.
    pub(super) fn put(&mut self, known: Known, name: &[u8], value: &[u8]) -> Result<(), EditError> {
        let Some(first) = self.first(known, name) else { return self.push(known, name, value) };
        self.rewrite(first, value)?;
        for index in first + 1..self.list.len() {
            if self.list[index].is_live() && self.is_called(&self.list[index], known, name) {
                self.list[index].flags |= REMOVED;
            }
        }
        Ok(())
    }

    /// Writes `bytes` behind everything else, for an edited part of the start line.
    pub(super) fn store(&mut self, bytes: &[u8]) -> Result<Span, EditError> {
        self.check_room(bytes.len())?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(Span::new(start, self.bytes.len()))
    }

    fn push(&mut self, known: Known, name: &[u8], value: &[u8]) -> Result<(), EditError> {
        if self.list.len() >= FIELDS_CEILING {
            return Err(EditError::TooManyFields { max: FIELDS_CEILING });
        }
        let value = token::trim(value);
        self.check_room(name.len() + value.len() + 4)?;
        let name_start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let name_span = Span::new(name_start, self.bytes.len());
        self.bytes.extend_from_slice(b": ");
        self.list.push(Field {
            name: name_span,
            value: Span::default(),
            line_end: 0,
            known,
            flags: 0,
        });
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.end_line(self.list.len() - 1, start);
        Ok(())
    }

    fn rewrite(&mut self, index: usize, value: &[u8]) -> Result<(), EditError> {
        let value = token::trim(value);
        self.check_room(self.list[index].name.range().len() + value.len() + 4)?;
        self.begin_line(index);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.end_line(index, start);
        Ok(())
    }

    fn begin_line(&mut self, index: usize) {
        let name = self.list[index].name.range();
        let start = self.bytes.len();
        self.bytes.extend_from_within(name);
        self.list[index].name = Span::new(start, self.bytes.len());
        self.bytes.extend_from_slice(b": ");
    }

    fn end_line(&mut self, index: usize, value_start: usize) {
        self.list[index].value = Span::new(value_start, self.bytes.len());
        self.bytes.extend_from_slice(b"\r\n");
        self.list[index].line_end = self.bytes.len() as u32;
    }

    fn check_room(&self, more: usize) -> Result<(), EditError> {
        if self.bytes.len() + more > EDITED_BYTES_MAX {
            return Err(EditError::TooLarge { max: EDITED_BYTES_MAX });
        }
        Ok(())
    }

    fn first(&self, known: Known, name: &[u8]) -> Option<usize> {
        self.list.iter().position(|field| field.is_live() && self.is_called(field, known, name))
    }

    fn is_called(&self, field: &Field, known: Known, name: &[u8]) -> bool {
        match known {
            Known::Other => {
                field.known == Known::Other && field.name.of(&self.bytes).eq_ignore_ascii_case(name)
            }
            known => field.known == known,
        }
    }
}

/// `Known::of` is exact for tokens only; anything else is the name of no field.
fn known_of(name: &[u8]) -> Known {
    if token::is_token(name) { Known::of(name) } else { Known::Other }
}

/// Whether a field may be written so, and which one it is.
fn check_edit(name: &[u8], value: &[u8]) -> Result<Known, EditError> {
    if !token::is_token(name) {
        return Err(EditError::InvalidName);
    }
    let known = Known::of(name);
    if known.is_reserved() {
        return Err(EditError::Reserved);
    }
    check_value(value)?;
    Ok(known)
}

fn check_value(value: &[u8]) -> Result<(), EditError> {
    if token::is_field_value(value) { Ok(()) } else { Err(EditError::InvalidValue) }
}
