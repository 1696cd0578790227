//! Blanks what is not code in Rust source, so that rules about words see code alone.
//!
//! Knows comments, strings, raw strings and characters, and nothing of the grammar.

/// `text` with the inside of comments and literals as spaces; lines stay where they are.
pub(crate) fn code_of(text: &str) -> String {
    let mut lexer = Lexer { rest: text, code: String::with_capacity(text.len()) };
    while !lexer.rest.is_empty() {
        lexer.step();
    }
    lexer.code
}

struct Lexer<'a> {
    rest: &'a str,
    code: String,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let after_word = self.code.ends_with(is_word);
        if self.rest.starts_with("//") {
            self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment_bytes(self.rest));
        } else if let Some(bytes) = raw_string_bytes(self.rest).filter(|_| !after_word) {
            self.blank(bytes);
        } else if self.rest.starts_with('"') {
            self.blank(string_bytes(self.rest));
        } else if let Some(bytes) = character_bytes(self.rest) {
            self.blank(bytes);
        } else if let Some(letter) = self.rest.chars().next() {
            self.code.push(letter);
            self.rest = &self.rest[letter.len_utf8()..];
        }
    }

    /// Puts spaces for the next `bytes`, keeping ends of lines.
    fn blank(&mut self, bytes: usize) {
        let (gone, rest) = self.rest.split_at(bytes);
        self.code.extend(gone.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

/// Whether `letter` can be part of a name.
pub(crate) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Block comments nest.
fn block_comment_bytes(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// `r"..."`, `r#"..."#`, also after `b` or `c`; nothing else.
fn raw_string_bytes(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"].into_iter().find(|prefix| text.starts_with(prefix))?;
    let hashes = text[prefix.len()..].bytes().take_while(|byte| *byte == b'#').count();
    let open = prefix.len() + hashes;
    text[open..].starts_with('"').then_some(())?;
    let end = format!("\"{}", "#".repeat(hashes));
    let inside = &text[open + 1..];
    Some(inside.find(&end).map_or(text.len(), |at| open + 1 + at + end.len()))
}

fn string_bytes(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `'a'`, `'\n'`, `'\u{1f600}'`; not the lifetime `'a`.
fn character_bytes(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if let Some(escape) = inside.strip_prefix('\\') {
        // The letter after the backslash may itself be a quote.
        let end = escape.char_indices().skip(1).find(|(_, letter)| *letter == '\'')?;
        return Some(2 + end.0 + 1);
    }
    let letter = inside.chars().next()?;
    inside[letter.len_utf8()..].starts_with('\'').then_some(2 + letter.len_utf8())
}
