//! Settings that are written as text: what every such type has in common.

use std::fmt;

/// Why a text is not what its key wants: the end of a sentence, in the operator's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadText(pub &'static str);

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadText {}

/// Makes a setting of types that are read by `FromStr` and written by `Display`: each with the
/// sentence that an editor shows for it.
macro_rules! text_settings {
    ($($type:ty: $description:literal;)*) => {$(
        impl crate::grammar::setting::Setting for $type {
            type Allowed = ();
            const ANY: () = ();

            fn read(
                node: crate::grammar::reader::Node<'_>,
                _allowed: &(),
                reader: &mut crate::grammar::reader::Reader<'_>,
            ) -> Option<Self> {
                let text = reader.text(node, $description)?;
                match text.parse::<$type>() {
                    Ok(value) => Some(value),
                    Err(problem) => reader.refuse(node, problem.0),
                }
            }

            fn write(&self, _names: &crate::grammar::names::Names) -> crate::grammar::tree::Tree {
                crate::grammar::tree::Tree::text(self)
            }

            fn schema(_allowed: &()) -> serde_json::Value {
                serde_json::json!({ "type": "string", "description": $description })
            }
        }
    )*};
}

pub(crate) use text_settings;
