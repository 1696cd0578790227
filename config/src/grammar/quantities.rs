//! Durations, sizes, ratios and weights as settings: what they may be, in the words of the text.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};
use toml::de::DeValue;

use crate::grammar::names::Names;
use crate::grammar::reader::{Node, Reader, wrong_type};
use crate::grammar::setting::{Setting, whole_number};
use crate::grammar::tree::Tree;
use crate::values::text::BadText;
use crate::values::units::{ByteSize, Ratio, Weight, duration_from_text, duration_to_text};

/// Refuses a value outside its range, in the words that it is written with.
fn in_range<T: PartialOrd>(
    value: T,
    allowed: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, String> {
    if value < *allowed.start() {
        return Err(format!("at least {}", show(allowed.start())));
    }
    if value > *allowed.end() {
        return Err(format!("at most {}", show(allowed.end())));
    }
    Ok(value)
}

impl Setting for Duration {
    type Allowed = RangeInclusive<Duration>;
    const ANY: RangeInclusive<Duration> = Duration::ZERO..=DURATION_MAX;

    fn read(
        node: Node<'_>,
        allowed: &RangeInclusive<Duration>,
        reader: &mut Reader<'_>,
    ) -> Option<Duration> {
        let text = reader.text(node, "a duration such as \"500ms\" or \"5s\"")?;
        let value = duration_from_text(text).map_err(|problem| problem.0.to_owned());
        let show = |bound: &Duration| duration_to_text(*bound);
        match value.and_then(|value| in_range(value, allowed, show)) {
            Ok(value) => Some(value),
            Err(problem) => reader.refuse(node, problem),
        }
    }

    fn write(&self, _names: &Names) -> Tree {
        Tree::Text(duration_to_text(*self))
    }

    fn schema(allowed: &RangeInclusive<Duration>) -> Value {
        let (low, high) = (duration_to_text(*allowed.start()), duration_to_text(*allowed.end()));
        json!({
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h)$",
            "description": format!("a duration from {low} to {high}"),
        })
    }
}

impl Setting for ByteSize {
    type Allowed = RangeInclusive<ByteSize>;
    const ANY: RangeInclusive<ByteSize> = ByteSize::bytes(0)..=ByteSize::gib(1_024);

    fn read(
        node: Node<'_>,
        allowed: &RangeInclusive<ByteSize>,
        reader: &mut Reader<'_>,
    ) -> Option<ByteSize> {
        let value = match node.get_ref() {
            DeValue::Integer(_) => match u64::try_from(whole_number(node, reader)?) {
                Ok(bytes) => Ok(ByteSize::bytes(bytes)),
                Err(_) => Err("a size cannot be negative".to_owned()),
            },
            DeValue::String(text) => text.parse().map_err(|problem: BadText| problem.0.into()),
            _ => Err(wrong_type("a size such as \"4MiB\", or bytes", node)),
        };
        match value.and_then(|value| in_range(value, allowed, ByteSize::to_string)) {
            Ok(value) => Some(value),
            Err(problem) => reader.refuse(node, problem),
        }
    }

    fn write(&self, _names: &Names) -> Tree {
        Tree::text(self)
    }

    fn schema(allowed: &RangeInclusive<ByteSize>) -> Value {
        let (low, high) = (allowed.start(), allowed.end());
        json!({
            "anyOf": [
                { "type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)?$" },
                { "type": "integer", "minimum": low.as_u64(), "maximum": high.as_u64() },
            ],
            "description": format!("a size from {low} to {high}"),
        })
    }
}

impl Setting for Ratio {
    type Allowed = RangeInclusive<Ratio>;
    const ANY: RangeInclusive<Ratio> = Ratio::percent(0)..=Ratio::percent(100);

    fn read(
        node: Node<'_>,
        allowed: &RangeInclusive<Ratio>,
        reader: &mut Reader<'_>,
    ) -> Option<Ratio> {
        let text = reader.text(node, "a ratio such as \"5%\"")?;
        let value = text.parse::<Ratio>().map_err(|problem| problem.0.to_owned());
        match value.and_then(|value| in_range(value, allowed, Ratio::to_string)) {
            Ok(value) => Some(value),
            Err(problem) => reader.refuse(node, problem),
        }
    }

    fn write(&self, _names: &Names) -> Tree {
        Tree::text(self)
    }

    fn schema(allowed: &RangeInclusive<Ratio>) -> Value {
        json!({
            "type": "string",
            "pattern": "^[0-9]+(\\.[0-9]{1,2})?%$",
            "description": format!("a ratio from {} to {}", allowed.start(), allowed.end()),
        })
    }
}

impl Setting for Weight {
    type Allowed = RangeInclusive<u16>;
    const ANY: RangeInclusive<u16> = 0..=u16::MAX;

    fn read(
        node: Node<'_>,
        allowed: &RangeInclusive<u16>,
        reader: &mut Reader<'_>,
    ) -> Option<Weight> {
        u16::read(node, allowed, reader).map(Weight::new)
    }

    fn write(&self, _names: &Names) -> Tree {
        Tree::Int(i64::from(self.shares()))
    }

    fn schema(allowed: &RangeInclusive<u16>) -> Value {
        u16::schema(allowed)
    }
}

/// A year is longer than any wait that somebody means.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
