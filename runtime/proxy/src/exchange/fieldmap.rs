//! Heads and trailers as filters see them: names in lower case, pseudo-fields in front, the
//! fields that belong to one connection left out (as in Envoy, which filters are written for).

use penstock_filter_host::abi::pairs::Pairs;
use penstock_filter_host::{BadField, HeaderMap};
use penstock_wire::http1::{EditError, Fields, Known, RequestHead, ResponseHead};

/// A request's head.
pub(crate) struct RequestMap<'a> {
    head: Head<'a>,
    secure: bool,
    touched: bool,
}

/// Once a head was sent it can only be looked at.
enum Head<'a> {
    Open(&'a mut RequestHead),
    Sent(&'a RequestHead),
}

impl<'a> RequestMap<'a> {
    /// One that is not sent yet.
    pub(crate) fn open_for(head: &'a mut RequestHead) -> RequestMap<'a> {
        RequestMap { head: Head::Open(head), secure: false, touched: false }
    }

    /// One that was sent.
    pub(crate) fn sent(head: &'a RequestHead) -> RequestMap<'a> {
        RequestMap { head: Head::Sent(head), secure: false, touched: false }
    }

    /// The same, of a connection with TLS or without.
    pub(crate) fn over(self, secure: bool) -> RequestMap<'a> {
        RequestMap { secure, ..self }
    }

    /// The same again, for a shorter time.
    pub(crate) fn again(&mut self) -> RequestMap<'_> {
        let head = match &mut self.head {
            Head::Open(head) => Head::Open(head),
            Head::Sent(head) => Head::Sent(head),
        };
        RequestMap { head, secure: self.secure, touched: false }
    }

    /// Whether somebody set out to change it.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched
    }

    pub(crate) fn head(&self) -> &RequestHead {
        match &self.head {
            Head::Open(head) => head,
            Head::Sent(head) => head,
        }
    }

    fn open(&mut self) -> Result<&mut RequestHead, BadField> {
        self.touched = true;
        match &mut self.head {
            Head::Open(head) => Ok(head),
            Head::Sent(_) => Err(BadField::Fixed),
        }
    }

    fn pseudo(&self, name: &[u8]) -> Option<&[u8]> {
        let head = self.head();
        Some(match name {
            b":authority" => head.authority().unwrap_or_default(),
            b":path" => head.path_and_query(),
            b":method" => head.method_name(),
            b":scheme" if self.secure => b"https",
            b":scheme" => b"http",
            _ => return None,
        })
    }

    fn each_pseudo(&self) -> impl Iterator<Item = (&'static [u8], &[u8])> {
        PSEUDO.into_iter().filter_map(|name| Some((name, self.pseudo(name)?)))
    }

    fn set_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        let head = self.open()?;
        match name {
            b":path" => head.set_path_and_query(value).map_err(bad),
            b":method" => head.set_method(value).map_err(bad),
            b":authority" => head.set_authority(value).map_err(bad),
            // One listener has one scheme; telling the origin another would be a lie.
            b":scheme" => Err(BadField::Fixed),
            _ => Err(BadField::Name),
        }
    }
}

impl HeaderMap for RequestMap<'_> {
    fn len(&self) -> usize {
        PSEUDO.len() + self.head().fields().count_without(Known::Host)
    }

    fn bytes(&self) -> usize {
        let pseudo: usize = self.each_pseudo().map(|(name, value)| name.len() + value.len()).sum();
        pseudo
            + shown(self.head().fields())
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
    }

    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        if name.first() == Some(&b':') {
            return self.pseudo(name);
        }
        if name.eq_ignore_ascii_case(b"host") {
            return self.head().authority();
        }
        self.head().fields().value_of(name)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.each_pseudo().for_each(|(name, value)| visit(name, value));
        visit_lower(self.head().fields(), visit);
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        if is_ours(name) || is_length(name) {
            return self.replace(name, value);
        }
        self.open()?.fields_mut().append(name, value).map_err(bad)
    }

    fn replace(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        if name.first() == Some(&b':') {
            return self.set_pseudo(name, value);
        }
        if name.eq_ignore_ascii_case(b"host") {
            return self.set_pseudo(b":authority", value);
        }
        if is_length(name) {
            if says(value) != self.head().length() {
                self.open()?.forget_length();
            }
            return Ok(());
        }
        self.open()?.fields_mut().set(name, value).map_err(bad)
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), BadField> {
        if is_ours(name) {
            return Err(BadField::Fixed);
        }
        if is_length(name) {
            self.open()?.forget_length();
            return Ok(());
        }
        self.open()?.fields_mut().remove(name).map(drop).map_err(bad)
    }

    fn replace_all(&mut self, fields: Pairs<'_>) -> Result<(), BadField> {
        let mut edited = self.open()?.clone();
        let mut map = RequestMap::open_for(&mut edited).over(self.secure);
        replace_each(&mut map, fields)?;
        *self.open()? = edited;
        Ok(())
    }
}

/// A response's head. Once it was sent it can only be looked at.
pub(crate) enum ResponseMap<'a> {
    /// Not sent yet.
    Open(&'a mut ResponseHead),
    /// Sent.
    Sent(&'a ResponseHead),
}

impl ResponseMap<'_> {
    pub(crate) fn head(&self) -> &ResponseHead {
        match self {
            ResponseMap::Open(head) => head,
            ResponseMap::Sent(head) => head,
        }
    }

    fn open(&mut self) -> Result<&mut ResponseHead, BadField> {
        match self {
            ResponseMap::Open(head) => Ok(head),
            ResponseMap::Sent(_) => Err(BadField::Fixed),
        }
    }
}

impl HeaderMap for ResponseMap<'_> {
    fn len(&self) -> usize {
        1 + self.head().fields().count_without(Known::Host)
    }

    fn bytes(&self) -> usize {
        let fields = shown(self.head().fields());
        b":status200".len() + fields.map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }

    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        if name == b":status" {
            return Some(status_text(self.head().status()));
        }
        self.head().fields().value_of(name)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        visit(b":status", status_text(self.head().status()));
        visit_lower(self.head().fields(), visit);
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        if name.first() == Some(&b':') || is_length(name) {
            return self.replace(name, value);
        }
        self.open()?.fields_mut().append(name, value).map_err(bad)
    }

    fn replace(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        if name == b":status" {
            let status = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            // RFC 9110 §15.2: a final response stays one.
            let status = status.filter(|status| (200..600).contains(status));
            let status = status.ok_or(BadField::Value)?;
            return self.open()?.set_status(status).map_err(bad);
        }
        if is_length(name) {
            if says(value) != self.head().length() {
                self.open()?.forget_length();
            }
            return Ok(());
        }
        self.open()?.fields_mut().set(name, value).map_err(bad)
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), BadField> {
        if name.first() == Some(&b':') {
            return Err(BadField::Fixed);
        }
        if is_length(name) {
            self.open()?.forget_length();
            return Ok(());
        }
        self.open()?.fields_mut().remove(name).map(drop).map_err(bad)
    }

    fn replace_all(&mut self, fields: Pairs<'_>) -> Result<(), BadField> {
        let mut edited = self.open()?.clone();
        let mut map = ResponseMap::Open(&mut edited);
        replace_each(&mut map, fields)?;
        *self.open()? = edited;
        Ok(())
    }
}

/// Trailers.
pub(crate) struct TrailerMap<'a>(pub(crate) &'a mut Fields);

impl HeaderMap for TrailerMap<'_> {
    fn len(&self) -> usize {
        self.0.count()
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.value_of(name)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        visit_lower(self.0, visit);
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        self.0.append(name, value).map_err(bad)
    }

    fn replace(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        self.0.set(name, value).map_err(bad)
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), BadField> {
        self.0.remove(name).map(drop).map_err(bad)
    }

    fn replace_all(&mut self, fields: Pairs<'_>) -> Result<(), BadField> {
        let mut edited = self.0.clone();
        replace_each(&mut TrailerMap(&mut edited), fields)?;
        *self.0 = edited;
        Ok(())
    }
}

/// Takes every field away that may go, then adds those given. Fields that are ours to set
/// (`content-length` and its like) stay as they are, whatever comes back.
fn replace_each(map: &mut dyn HeaderMap, fields: Pairs<'_>) -> Result<(), BadField> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    map.for_each(&mut |name, _| names.push(name.to_vec()));
    let kept = fields.iter().any(|(name, _)| is_length(name));
    for name in names.iter().filter(|name| !(is_ours(name) || kept && is_length(name))) {
        match map.remove(name) {
            Ok(()) | Err(BadField::Fixed) => {}
            Err(error) => return Err(error),
        }
    }
    for (name, value) in fields.iter() {
        match map.add(name, value) {
            Ok(()) | Err(BadField::Fixed) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A request's pseudo-fields, in the order in which filters see them.
const PSEUDO: [&[u8]; 4] = [b":authority", b":path", b":method", b":scheme"];

/// `Host` is `:authority` to a filter.
fn shown(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"host"))
}

fn is_ours(name: &[u8]) -> bool {
    name.first() == Some(&b':') || Known::of(name) == Known::Host
}

fn is_length(name: &[u8]) -> bool {
    Known::of(name) == Known::ContentLength
}

/// The length that a value says. What is another than the head's is not known to be true: a head
/// that a filter gave one says none, and the body's end tells.
fn says(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Shows fields with their names in lower case, which most are already.
fn visit_lower(fields: &Fields, visit: &mut dyn FnMut(&[u8], &[u8])) {
    let mut lower = [0; 64];
    for (name, value) in shown(fields) {
        if !name.iter().any(u8::is_ascii_uppercase) {
            visit(name, value);
        } else if let Some(room) = lower.get_mut(..name.len()) {
            room.copy_from_slice(name);
            room.make_ascii_lowercase();
            visit(room, value);
        } else {
            visit(&name.to_ascii_lowercase(), value);
        }
    }
}

fn bad(error: EditError) -> BadField {
    match error {
        EditError::InvalidName => BadField::Name,
        EditError::InvalidValue | EditError::Invalid { .. } => BadField::Value,
        EditError::Reserved => BadField::Fixed,
        EditError::NoSuchField { .. } => BadField::Name,
        EditError::TooLarge { .. } | EditError::TooManyFields { .. } => BadField::OverLimit,
    }
}

/// Three digits, from a table: a filter borrows them.
fn status_text(status: u16) -> &'static [u8] {
    const DIGITS: [[u8; 3]; 900] = {
        let mut digits = [[0; 3]; 900];
        let mut index = 0;
        while index < 900 {
            let status = index as u16 + 100;
            digits[index] = [
                b'0' + (status / 100) as u8,
                b'0' + (status / 10 % 10) as u8,
                b'0' + (status % 10) as u8,
            ];
            index += 1;
        }
        digits
    };
    static TABLE: [[u8; 3]; 900] = DIGITS;
    let index = usize::from(status).saturating_sub(100);
    TABLE.get(index).map_or(b"000", |digits| digits)
}

#[cfg(test)]
mod tests {
    use penstock_filter_host::HeaderMap;
    use penstock_filter_host::PairList;
    use penstock_wire::http1::ResponseHead;

    use super::ResponseMap;

    #[test]
    fn all_fields_are_replaced_but_those_that_frame_the_message() {
        let mut head = ResponseHead::new();
        head.start(200).unwrap();
        head.fields_mut().append(b"gone", b"1").unwrap();
        let fields: [(&[u8], &[u8]); 5] = [
            (b":status", b"201"),
            (b"set-cookie", b"a"),
            (b"set-cookie", b"b"),
            (b"set-cookie", b"a"),
            (b"content-length", b"7"),
        ];
        let list = PairList::new(fields.into_iter());
        let mut map = ResponseMap::Open(&mut head);
        map.replace_all(list.pairs()).unwrap();
        let mut seen = Vec::new();
        map.for_each(&mut |name, value| seen.push((name.to_vec(), value.to_vec())));
        let expected: Vec<_> =
            fields[..4].iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        assert_eq!(seen, expected);
    }
}
