//! `section!` and `choice!`: a table or a word of the language, declared once.
//!
//! One declaration gives the Rust type with its docs, the reader, the writer, the defaults and
//! the JSON schema, so that none of them can drift from the others.

use serde_json::{Map, Value, json};

use crate::findings::FindingKind;
use crate::grammar::later::{self, Elsewhere};
use crate::grammar::names::Names;
use crate::grammar::reader::{Node, RawFinding, Reader, TableReader};
use crate::grammar::setting::Setting;
use crate::grammar::tree::Tree;

/// Keys that are read from a table that others may read from too.
pub(crate) trait Group: Sized {
    /// Reads the keys, or reports why not.
    fn read(table: &mut TableReader<'_, '_, '_>) -> Option<Self>;
    /// Writes the keys.
    fn write(&self, out: &mut TableWriter<'_>);
    /// Describes the keys.
    fn describe(out: &mut TableSchema);
}

/// A group that has a table to itself: any other key in it is unknown.
pub(crate) trait Section: Group {
    /// What the language calls this table.
    const KIND: &'static str;
}

impl<T: Section> Setting for T {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<T> {
        let mut table = TableReader::open(reader, node)?;
        let section = <T as Group>::read(&mut table);
        table.close(T::KIND);
        section
    }

    fn write(&self, names: &Names) -> Tree {
        let mut out = TableWriter { names, entries: Vec::new() };
        Group::write(self, &mut out);
        Tree::Table(out.entries)
    }

    fn schema(_allowed: &()) -> Value {
        let mut out = TableSchema::default();
        T::describe(&mut out);
        out.into_schema()
    }
}

/// The entries of a table being written, in the order of declaration.
pub(crate) struct TableWriter<'n> {
    names: &'n Names,
    entries: Vec<(String, Tree)>,
}

impl TableWriter<'_> {
    /// Writes one key, unless it has no value.
    pub(crate) fn put<T: Setting>(&mut self, key: &str, value: &T) {
        let tree = value.write(self.names);
        if tree != Tree::Null {
            self.entries.push((key.to_owned(), tree));
        }
    }
}

/// The schema of a table being described.
#[derive(Default)]
pub(crate) struct TableSchema {
    properties: Map<String, Value>,
    required: Vec<&'static str>,
}

impl TableSchema {
    /// Adds a key that has to be there.
    pub(crate) fn required<T: Setting>(
        &mut self,
        key: &'static str,
        docs: &[&str],
        allowed: &T::Allowed,
    ) {
        self.required.push(key);
        self.property::<T>(key, docs, allowed);
    }

    /// Adds a key that may be left out, and what it is then.
    pub(crate) fn optional<T: Setting>(
        &mut self,
        key: &'static str,
        docs: &[&str],
        default: &T,
        allowed: &T::Allowed,
    ) {
        let default = default.write(&Names::default());
        let property = self.property::<T>(key, docs, allowed);
        if default != Tree::Null {
            property.insert("default".to_owned(), default.to_json());
        }
    }

    fn property<T: Setting>(
        &mut self,
        key: &'static str,
        docs: &[&str],
        allowed: &T::Allowed,
    ) -> &mut Map<String, Value> {
        let mut schema = match T::schema(allowed) {
            Value::Object(schema) => schema,
            other => Map::from_iter([("const".to_owned(), other)]),
        };
        let mut sentences: Vec<String> = Vec::new();
        let docs: Vec<&str> = docs.iter().map(|line| line.trim()).collect();
        if !docs.is_empty() {
            sentences.push(docs.join(" "));
        }
        if let Some(Value::String(form)) = schema.remove("description") {
            sentences.push(format!("Written as {form}."));
        }
        schema.insert("description".to_owned(), Value::String(sentences.join(" ")));
        let slot = self.properties.entry(key).or_insert(Value::Null);
        *slot = Value::Object(schema);
        slot.as_object_mut().expect("an object was put there on the line above")
    }

    pub(crate) fn into_schema(self) -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": self.properties,
            "required": self.required,
        })
    }
}

/// Declares a table of the language.
///
/// - `key: Type = default, in allowed;` is a key that may be left out;
/// - `key: Type;` has to be there;
/// - `field as "key": ...` has another name in the text than in Rust;
/// - `.. { field: Type; }`, first, holds fields that take their keys from this table too (`Group`).
///
/// A section declared `= default` has nothing but keys with defaults and gets a `Default`.
/// `check = function` runs over the finished section, with the reader to report to.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident($kind:literal $(, check = $check:path)?) = default {
            $(
                $(#[doc = $doc:literal])*
                $field:ident $(as $key:literal)? : $type:ty = $default:expr $(, in $allowed:expr)?;
            )*
        }
    ) => {
        $crate::grammar::section::section! {
            $(#[$meta])*
            $vis struct $name($kind $(, check = $check)?) {
                $($(#[doc = $doc])* $field $(as $key)? : $type = $default $(, in $allowed)?;)*
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default,)* }
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident($kind:literal $(, check = $check:path)?) {
            $(.. { $($(#[doc = $group_doc:literal])* $group:ident : $group_type:ty;)* })?
            $(
                $(#[doc = $doc:literal])*
                $field:ident $(as $key:literal)? : $type:ty
                    $(= $default:expr)? $(, in $allowed:expr)?;
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $($($(#[doc = $group_doc])* $vis $group: $group_type,)*)?
            $($(#[doc = $doc])* $vis $field: $type,)*
        }

        impl $crate::grammar::section::Group for $name {
            fn read(table: &mut $crate::grammar::reader::TableReader<'_, '_, '_>) -> Option<$name> {
                $($(let $group = <$group_type as $crate::grammar::section::Group>::read(table);)*)?
                $(
                    let $field: Option<$type> = $crate::grammar::section::read_key!(
                        table, $crate::grammar::section::key!($field $($key)?), $type,
                        ($($default)?), ($($allowed)?)
                    );
                )*
                let section = $name { $($($group: $group?,)*)? $($field: $field?,)* };
                $($check(&section, table)?;)?
                Some(section)
            }

            fn write(&self, out: &mut $crate::grammar::section::TableWriter<'_>) {
                $($($crate::grammar::section::Group::write(&self.$group, out);)*)?
                $(out.put($crate::grammar::section::key!($field $($key)?), &self.$field);)*
            }

            fn describe(out: &mut $crate::grammar::section::TableSchema) {
                $($(<$group_type as $crate::grammar::section::Group>::describe(out);)*)?
                $(
                    $crate::grammar::section::describe_key!(
                        out, $crate::grammar::section::key!($field $($key)?), &[$($doc),*], $type,
                        ($($default)?), ($($allowed)?)
                    );
                )*
            }
        }

        impl $crate::grammar::section::Section for $name {
            const KIND: &'static str = $kind;
        }
    };
}

/// The name of a field in the text.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// What a key may be: as declared, or anything that its type can be.
macro_rules! allowed {
    ($type:ty, ()) => {
        &<$type as $crate::grammar::setting::Setting>::ANY
    };
    ($type:ty, ($allowed:expr)) => {
        &$allowed
    };
}

/// Reads one declared key.
macro_rules! read_key {
    ($table:ident, $key:expr, $type:ty, (), $allowed:tt) => {
        $table.required($key, $crate::grammar::section::allowed!($type, $allowed))
    };
    ($table:ident, $key:expr, $type:ty, ($default:expr), $allowed:tt) => {
        $table.optional($key, || $default, $crate::grammar::section::allowed!($type, $allowed))
    };
}

/// Describes one declared key.
macro_rules! describe_key {
    ($out:ident, $key:expr, $docs:expr, $type:ty, (), $allowed:tt) => {
        $out.required::<$type>($key, $docs, $crate::grammar::section::allowed!($type, $allowed))
    };
    ($out:ident, $key:expr, $docs:expr, $type:ty, ($default:expr), $allowed:tt) => {
        $out.optional::<$type>(
            $key,
            $docs,
            &$default,
            $crate::grammar::section::allowed!($type, $allowed),
        )
    };
}

/// Declares a word of the language that is one of several.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident($kind:literal) {
            $($(#[doc = $doc:literal])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $doc])* $variant,)*
        }

        impl $name {
            /// Every one of them, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The word in the config.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }

        impl $crate::grammar::setting::Setting for $name {
            type Allowed = ();
            const ANY: () = ();

            fn read(
                node: $crate::grammar::reader::Node<'_>,
                _allowed: &(),
                reader: &mut $crate::grammar::reader::Reader<'_>,
            ) -> Option<$name> {
                let words = &[$($word),*];
                let word = $crate::grammar::section::read_word(node, $kind, words, reader)?;
                $name::ALL.iter().copied().find(|choice| choice.name() == word)
            }

            fn write(&self, _names: &$crate::grammar::names::Names) -> $crate::grammar::tree::Tree {
                $crate::grammar::tree::Tree::text(self.name())
            }

            fn schema(_allowed: &()) -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),*] })
            }
        }
    };
}

/// Reads one of `words`, and knows the words of later versions from unknown ones.
pub(crate) fn read_word<'a>(
    node: Node<'a>,
    kind: &str,
    words: &[&'static str],
    reader: &mut Reader<'_>,
) -> Option<&'a str> {
    let word = reader.text(node, "a word in quotes")?;
    if words.contains(&word) {
        return Some(word);
    }
    let (kind, problem) = match later::word(kind, word) {
        Some(Elsewhere::SaidOtherwise(instead)) => (FindingKind::Value, instead),
        Some(Elsewhere::Later) => (FindingKind::NotInThisVersion, "not in this version"),
        None => return reader.refuse_word(node, word, words),
    };
    let allowed = words.iter().map(|word| format!("\"{word}\""));
    let finding = RawFinding::new(kind, node.span(), problem);
    reader.report(finding.with_value().with_allowed(allowed))
}

pub(crate) use {allowed, choice, describe_key, key, read_key, section};
