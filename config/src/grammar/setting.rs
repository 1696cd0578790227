//! What a value in the config can be, for the types that need no file of their own.
//!
//! A `Setting` is read from a value, written back, and described to editors, all from the same
//! type and the same range: there is no second list of keys to keep in step.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde_json::{Value, json};
use toml::de::DeValue;

use crate::grammar::names::{ClusterId, FilterId, Names};
use crate::grammar::reader::{Node, Reader, wrong_type};
use crate::grammar::tree::Tree;

/// A type that a key of the config can have.
pub(crate) trait Setting: Sized {
    /// What narrows the type at one key: a range, a length.
    type Allowed;
    /// As wide as the type allows.
    const ANY: Self::Allowed;

    /// Reads `node`, or reports why not.
    fn read(node: Node<'_>, allowed: &Self::Allowed, reader: &mut Reader<'_>) -> Option<Self>;
    /// The value as it would be written.
    fn write(&self, names: &Names) -> Tree;
    /// The JSON schema of the value.
    fn schema(allowed: &Self::Allowed) -> Value;
}

/// What a list may hold.
pub(crate) struct ListOf<A> {
    /// What each item may be.
    pub(crate) item: A,
    /// How few items make sense.
    pub(crate) count_min: usize,
    /// How many items are taken.
    pub(crate) count_max: usize,
    /// True where a single item may be written without brackets.
    pub(crate) bare: bool,
}

impl<T: Setting> Setting for Vec<T> {
    type Allowed = ListOf<T::Allowed>;
    const ANY: ListOf<T::Allowed> =
        ListOf { item: T::ANY, count_min: 0, count_max: LIST_COUNT_MAX, bare: false };

    fn read(
        node: Node<'_>,
        allowed: &ListOf<T::Allowed>,
        reader: &mut Reader<'_>,
    ) -> Option<Vec<T>> {
        let Some(items) = node.get_ref().as_array() else {
            if allowed.bare {
                return Some(vec![T::read(node, &allowed.item, reader)?]);
            }
            return reader.refuse(node, wrong_type("a list", node));
        };
        if items.len() < allowed.count_min {
            return reader.refuse(node, format!("at least {} needed", allowed.count_min));
        }
        if items.len() > allowed.count_max {
            let problem = format!("{} items, at most {}", items.len(), allowed.count_max);
            return reader.refuse(node, problem);
        }
        let read_item = |(index, item)| reader.at(index, |r| T::read(item, &allowed.item, r));
        // Every item is read before the first failure ends the list: all mistakes in one run.
        let read: Vec<Option<T>> = items.iter().enumerate().map(read_item).collect();
        read.into_iter().collect()
    }

    fn write(&self, names: &Names) -> Tree {
        Tree::List(self.iter().map(|item| item.write(names)).collect())
    }

    fn schema(allowed: &ListOf<T::Allowed>) -> Value {
        let item = T::schema(&allowed.item);
        let list = json!({
            "type": "array",
            "items": item,
            "minItems": allowed.count_min,
            "maxItems": allowed.count_max,
        });
        if allowed.bare { json!({ "anyOf": [list, T::schema(&allowed.item)] }) } else { list }
    }
}

impl<T: Setting> Setting for Option<T> {
    type Allowed = T::Allowed;
    const ANY: T::Allowed = T::ANY;

    fn read(node: Node<'_>, allowed: &T::Allowed, reader: &mut Reader<'_>) -> Option<Option<T>> {
        T::read(node, allowed, reader).map(Some)
    }

    fn write(&self, names: &Names) -> Tree {
        self.as_ref().map_or(Tree::Null, |value| value.write(names))
    }

    fn schema(allowed: &T::Allowed) -> Value {
        T::schema(allowed)
    }
}

impl Setting for bool {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<bool> {
        match node.get_ref().as_bool() {
            Some(value) => Some(value),
            None => reader.refuse(node, wrong_type("true or false", node)),
        }
    }

    fn write(&self, _names: &Names) -> Tree {
        Tree::Bool(*self)
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "type": "boolean" })
    }
}

/// The whole number at `node`, if it is one and fits.
pub(crate) fn whole_number(node: Node<'_>, reader: &mut Reader<'_>) -> Option<i64> {
    let DeValue::Integer(integer) = node.get_ref() else {
        return reader.refuse(node, wrong_type("a whole number", node));
    };
    match i64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) => Some(number),
        Err(_) => reader.refuse(node, "too large a number"),
    }
}

macro_rules! whole_number_settings {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            type Allowed = RangeInclusive<$type>;
            const ANY: RangeInclusive<$type> = 0..=<$type>::MAX;

            fn read(
                node: Node<'_>,
                allowed: &RangeInclusive<$type>,
                reader: &mut Reader<'_>,
            ) -> Option<$type> {
                let number = whole_number(node, reader)?;
                if number < i64::try_from(*allowed.start()).unwrap_or(i64::MAX) {
                    return reader.refuse(node, format!("at least {}", allowed.start()));
                }
                match <$type>::try_from(number) {
                    Ok(value) if allowed.contains(&value) => Some(value),
                    _ => reader.refuse(node, format!("at most {}", allowed.end())),
                }
            }

            fn write(&self, _names: &Names) -> Tree {
                Tree::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }

            fn schema(allowed: &RangeInclusive<$type>) -> Value {
                json!({
                    "type": "integer",
                    "minimum": allowed.start(),
                    "maximum": allowed.end(),
                })
            }
        }
    )*};
}

whole_number_settings!(u16, u32);

/// Free text; allowed is its length in bytes.
impl Setting for String {
    type Allowed = RangeInclusive<usize>;
    const ANY: RangeInclusive<usize> = 0..=TEXT_BYTES_MAX;

    fn read(
        node: Node<'_>,
        allowed: &RangeInclusive<usize>,
        reader: &mut Reader<'_>,
    ) -> Option<String> {
        let text = reader.text(node, "text")?;
        if text.len() < *allowed.start() {
            return reader.refuse(node, "cannot be empty");
        }
        if text.len() > *allowed.end() {
            return reader.refuse(node, format!("at most {} bytes", allowed.end()));
        }
        Some(text.to_owned())
    }

    fn write(&self, _names: &Names) -> Tree {
        Tree::text(self)
    }

    fn schema(allowed: &RangeInclusive<usize>) -> Value {
        json!({ "type": "string", "minLength": allowed.start(), "maxLength": allowed.end() })
    }
}

impl Setting for PathBuf {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<PathBuf> {
        let text = reader.text(node, "the path of a file")?;
        if text.is_empty() || text.contains('\0') {
            return reader.refuse(node, "not the path of a file");
        }
        Some(PathBuf::from(text))
    }

    fn write(&self, _names: &Names) -> Tree {
        Tree::text(self.display())
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "type": "string", "minLength": 1, "description": "the path of a file" })
    }
}

impl Setting for ClusterId {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<ClusterId> {
        reader.cluster(node)
    }

    fn write(&self, names: &Names) -> Tree {
        Tree::text(&names.clusters[self.index()])
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "type": "string", "description": "the name of a cluster" })
    }
}

impl Setting for FilterId {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<FilterId> {
        reader.filter(node)
    }

    fn write(&self, names: &Names) -> Tree {
        Tree::text(&names.filters[self.index()])
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "type": "string", "description": "the name of a filter" })
    }
}

const TEXT_BYTES_MAX: usize = 4_096;
const LIST_COUNT_MAX: usize = 10_000;
