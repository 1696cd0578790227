//! The attribute that turns an impl of `Filter` or `StreamFilter` into a module's exports.
//!
//! It reads no more of Rust than it must: the names of trait and type, and which functions and
//! types the impl has. So it needs no parser crate, and whatever is wrong inside a method is
//! reported by the compiler in the author's own words and place.

#![forbid(unsafe_code)]

mod exports;

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Put over `impl Filter for X` or `impl StreamFilter for X`. It fills in `type Config = NoConfig`
/// and `type State = ()` where they are left out and, on wasm32, exports the callbacks that the
/// impl has and no others.
#[proc_macro_attribute]
pub fn filter(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return error("#[penstock::filter] takes no arguments", item);
    }
    match Impl::read(item.clone()) {
        Ok(found) => found.expand(),
        Err(message) => error(message, item),
    }
}

/// What the attribute has to know of an impl.
struct Impl {
    /// Everything up to the body, attributes and all.
    head: Vec<TokenTree>,
    body: Group,
    /// What passes through the filter: told by the trait's name.
    kind: Kind,
    self_type: String,
    functions: Vec<String>,
    types: Vec<String>,
}

impl Impl {
    fn read(item: TokenStream) -> Result<Self, &'static str> {
        let mut head: Vec<TokenTree> = item.into_iter().collect();
        let body = match head.pop() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group,
            _ => return Err(NOT_AN_IMPL),
        };
        let keyword = position(&head, "impl").ok_or(NOT_AN_IMPL)?;
        if matches!(head.get(keyword + 1), Some(TokenTree::Punct(punct)) if punct.as_char() == '<')
        {
            return Err("a filter has no generic parameters: the module exports one type");
        }
        let separator = position(&head, "for").ok_or(NOT_AN_IMPL)?;
        let kind = Kind::of(&head[..separator]).ok_or(NOT_AN_IMPL)?;
        let self_type: TokenStream = head[separator + 1..].iter().cloned().collect();
        let names = |keyword| names_after(&body, keyword);
        let (functions, types) = (names("fn"), names("type"));
        Ok(Self { kind, self_type: self_type.to_string(), functions, types, head, body })
    }

    fn expand(self) -> TokenStream {
        let mut body = self.body.stream();
        for (name, default) in [("Config", "::penstock::NoConfig"), ("State", "()")] {
            if !self.types.iter().any(|found| found == name) {
                body.extend(parse(&format!("type {name} = {default};")));
            }
        }
        let mut filled = Group::new(Delimiter::Brace, body);
        filled.set_span(self.body.span());
        let mut out: TokenStream = self.head.into_iter().collect();
        out.extend([TokenTree::Group(filled)]);
        out.extend(parse(&exports::code(self.kind, &self.self_type, &self.functions)));
        out
    }
}

/// What a filter is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exchanges,
    Connections,
}

impl Kind {
    /// By the last name before `for`, whatever path leads to it.
    fn of(before_for: &[TokenTree]) -> Option<Kind> {
        match before_for.last()?.to_string().as_str() {
            "Filter" => Some(Kind::Exchanges),
            "StreamFilter" => Some(Kind::Connections),
            _ => None,
        }
    }
}

const NOT_AN_IMPL: &str =
    "#[penstock::filter] goes over `impl Filter for ...` or `impl StreamFilter for ...`";

/// Where the word `word` stands among `tokens`.
fn position(tokens: &[TokenTree], word: &str) -> Option<usize> {
    tokens.iter().position(|token| is_word(token, word))
}

/// The names that follow the word `keyword` directly inside `body`.
fn names_after(body: &Group, keyword: &str) -> Vec<String> {
    let tokens: Vec<TokenTree> = body.stream().into_iter().collect();
    tokens
        .windows(2)
        .filter(|pair| is_word(&pair[0], keyword))
        .map(|pair| pair[1].to_string())
        .collect()
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident.to_string() == word)
}

/// The item as it was, and the compiler saying `message` about it.
fn error(message: &str, item: TokenStream) -> TokenStream {
    let mut out = parse(&format!("::core::compile_error!({message:?});"));
    out.extend(item);
    out
}

/// Our own code as tokens.
fn parse(code: &str) -> TokenStream {
    code.parse().expect("the text is written in this crate and is Rust")
}
