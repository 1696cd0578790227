//! Lists of fields: those that a message has, those of an answer or a callout to be sent.

use penstock_filters_sdk_abi::pairs::{self, Pairs, Writer};

/// Fields to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldList {
    fields: Vec<(String, Vec<u8>)>,
}

impl FieldList {
    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    /// Whether there is a field of this name with something in it.
    pub(crate) fn has_value(&self, name: &str) -> bool {
        self.fields.iter().any(|(other, value)| other == name && !value.is_empty())
    }

    /// The list as the host takes it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let content = self.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut out = vec![0; pairs::list_bytes(self.fields.len(), content)];
        let mut writer = Writer::new(&mut out, self.fields.len());
        for (name, value) in &self.fields {
            writer.pair(name.as_bytes(), value);
        }
        out
    }
}

/// The fields of a message, borrowed until the callback returns. See [`Fields::headers`].
///
/// [`Fields::headers`]: crate::Fields::headers
#[derive(Clone, Debug)]
pub struct Headers<'a>(Option<pairs::Iter<'a>>);

impl<'a> Headers<'a> {
    /// Reads an encoded list. One that contradicts itself is a host's mistake and has no fields.
    pub(crate) fn decode(list: &'a [u8]) -> Self {
        Self(Pairs::parse(list, u32::MAX).ok().map(|pairs| pairs.iter()))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }
}
