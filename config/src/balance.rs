//! How a cluster's endpoints share its requests.

use crate::grammar::reader::TableReader;
use crate::grammar::section::{Group, TableSchema, TableWriter, choice};
use crate::values::header::HeaderName;
use crate::values::text::{BadText, text_settings};
use crate::values::units::Ratio;

/// The algorithm, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// In turn, by weight, smoothly.
    WeightedRoundRobin,
    /// At random, by weight.
    Random,
    /// The better of two at random by requests in flight, then by latency.
    LeastRequest,
    /// The same key, the same endpoint, on every appliance.
    Maglev {
        /// What the key is.
        hash: HashKey,
        /// How much of the mean load an endpoint may have before its keys go elsewhere.
        load_max: Ratio,
    },
}

impl Balance {
    /// The algorithm's name in the config.
    pub fn name(&self) -> &'static str {
        self.algorithm().name()
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Balance::RoundRobin => Algorithm::RoundRobin,
            Balance::WeightedRoundRobin => Algorithm::WeightedRoundRobin,
            Balance::Random => Algorithm::Random,
            Balance::LeastRequest => Algorithm::LeastRequest,
            Balance::Maglev { .. } => Algorithm::Maglev,
        }
    }
}

choice! {
    /// The algorithms by name.
    pub enum Algorithm("balance") {
        /// In turn.
        RoundRobin = "round-robin",
        /// In turn, by weight, smoothly.
        WeightedRoundRobin = "weighted-round-robin",
        /// At random, by weight.
        Random = "random",
        /// The better of two by requests in flight.
        LeastRequest = "least-request",
        /// Consistent hashing.
        Maglev = "maglev",
    }
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// `"source"`: the address of the downstream, as trusted proxies report it.
    Source,
    /// `"path"`: the path without the query.
    Path,
    /// `"header:x-user"`: the value of a field.
    Header(HeaderName),
    /// `"cookie:name"`: the value of a cookie.
    Cookie(Box<str>),
}

impl std::fmt::Display for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HashKey::Source => f.write_str("source"),
            HashKey::Path => f.write_str("path"),
            HashKey::Header(name) => write!(f, "header:{name}"),
            HashKey::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl std::str::FromStr for HashKey {
    type Err = BadText;

    fn from_str(text: &str) -> Result<HashKey, BadText> {
        match text.split_once(':') {
            None if text == "source" => Ok(HashKey::Source),
            None if text == "path" => Ok(HashKey::Path),
            Some(("header", name)) => name.parse().map(HashKey::Header),
            // RFC 6265 §4.1.1: a cookie's name is a token, as a field's is.
            Some(("cookie", name)) => match name.parse::<HeaderName>() {
                Ok(_) => Ok(HashKey::Cookie(name.into())),
                Err(_) => Err(BadText("not the name of a cookie")),
            },
            _ => Err(BadText("hashed is \"source\", \"path\", \"header:NAME\" or \"cookie:NAME\"")),
        }
    }
}

text_settings! {
    HashKey: "\"source\", \"path\", \"header:NAME\" or \"cookie:NAME\"";
}

/// The keys `balance`, `hash` and `hash_load_max`: the last two belong to `maglev` alone.
impl Group for Balance {
    fn read(table: &mut TableReader<'_, '_, '_>) -> Option<Balance> {
        let algorithm = table.optional("balance", || Algorithm::LeastRequest, &());
        let hash = table.optional::<Option<HashKey>>("hash", || None, &());
        let load_max = table.optional::<Option<Ratio>>("hash_load_max", || None, &LOAD_RANGE);
        let (algorithm, hash, load_max) = (algorithm?, hash?, load_max?);
        if algorithm != Algorithm::Maglev {
            for (key, is_set) in [("hash", hash.is_some()), ("hash_load_max", load_max.is_some())] {
                if is_set {
                    return table.contradict(key, "only `balance = \"maglev\"` hashes");
                }
            }
        }
        Some(match algorithm {
            Algorithm::RoundRobin => Balance::RoundRobin,
            Algorithm::WeightedRoundRobin => Balance::WeightedRoundRobin,
            Algorithm::Random => Balance::Random,
            Algorithm::LeastRequest => Balance::LeastRequest,
            Algorithm::Maglev => Balance::Maglev {
                hash: hash.unwrap_or(HashKey::Source),
                load_max: load_max.unwrap_or(LOAD_DEFAULT),
            },
        })
    }

    fn write(&self, out: &mut TableWriter<'_>) {
        out.put("balance", &self.algorithm());
        if let Balance::Maglev { hash, load_max } = self {
            out.put("hash", hash);
            out.put("hash_load_max", load_max);
        }
    }

    fn describe(out: &mut TableSchema) {
        out.optional("balance", &["Which endpoint a request goes to."], &DEFAULT, &());
        let docs = &["What of a request `maglev` hashes; \"source\" if not set."];
        out.optional::<Option<HashKey>>("hash", docs, &None, &());
        let docs = &["How much of the mean load one endpoint may have; 125 % if not set."];
        out.optional::<Option<Ratio>>("hash_load_max", docs, &None, &LOAD_RANGE);
    }
}

const DEFAULT: Algorithm = Algorithm::LeastRequest;
const LOAD_DEFAULT: Ratio = Ratio::percent(125);
const LOAD_RANGE: std::ops::RangeInclusive<Ratio> = Ratio::percent(101)..=Ratio::percent(1_000);
