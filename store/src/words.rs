//! Words: what a text is found by. Pure.
//!
//! A word is a run of letters and digits, in lower case, cut at [`MAX_WORD_BYTES`]. Scripts that are
//! written without spaces have no such runs: there each character is a word. What joins characters
//! or only marks them is no part of a word; no text is brought into a normal form.
//!
//! The index, what removes from it and the check all go by [`words`]: another rule for what a word
//! is would need the index made anew.

/// Most different words of a text; those behind them are not found.
pub const MAX_WORDS: usize = 64;
/// Most bytes of a word; the rest is cut off at a character.
pub const MAX_WORD_BYTES: usize = 32;
/// Most words of a query.
pub const MAX_QUERY_WORDS: usize = 8;

/// The different words of a text, at most [`MAX_WORDS`], in the order of their first place.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    segment(text, |word| {
        if !found.iter().any(|known| known == word) {
            found.push(word.to_owned());
        }
        found.len() < MAX_WORDS
    });
    found
}

/// The words of a body; none of one that is no text.
pub(crate) fn words_of(body: &[u8]) -> Vec<String> {
    std::str::from_utf8(body).map(words).unwrap_or_default()
}

/// Whether a body has a word, at any place.
pub(crate) fn has_word(body: &[u8], wanted: &str) -> bool {
    let mut found = false;
    segment(std::str::from_utf8(body).unwrap_or_default(), |word| {
        found = word == wanted;
        !found
    });
    found
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Each is a word of the text.
    pub(crate) whole: Vec<String>,
    /// A word of the text begins with it.
    pub(crate) prefix: Option<String>,
}

/// Why a text is no query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadQuery {
    /// There is no word in it.
    NoWord,
    /// There are more than [`MAX_QUERY_WORDS`].
    TooManyWords,
}

impl Query {
    /// Reads a query: all of its words must be in a text. The last one may go on there, unless
    /// something follows it here, such as a space.
    ///
    /// # Errors
    /// [`BadQuery`].
    pub fn parse(text: &str) -> Result<Self, BadQuery> {
        let mut whole: Vec<String> = Vec::new();
        segment(text, |word| {
            whole.retain(|known| known != word);
            whole.push(word.to_owned());
            whole.len() <= MAX_QUERY_WORDS
        });
        if whole.len() > MAX_QUERY_WORDS {
            return Err(BadQuery::TooManyWords);
        }
        let goes_on = text.chars().next_back().is_some_and(|c| c.is_alphanumeric() && !is_word(c));
        let prefix = if goes_on { whole.pop() } else { None };
        if whole.is_empty() && prefix.is_none() {
            return Err(BadQuery::NoWord);
        }
        Ok(Self { whole, prefix })
    }

    /// Whether a body is one that is looked for.
    #[must_use]
    pub fn fits(&self, body: &[u8]) -> bool {
        let words = words_of(body);
        self.whole.iter().all(|wanted| words.contains(wanted))
            && self.prefix.iter().all(|start| words.iter().any(|word| word.starts_with(start)))
    }
}

/// Tells each word of a text, until that says that it is enough.
fn segment(text: &str, mut goes_on: impl FnMut(&str) -> bool) {
    let mut word = String::with_capacity(MAX_WORD_BYTES);
    let mut full = false;
    for c in text.chars() {
        let part = c.is_alphanumeric();
        if (!part || is_word(c)) && !word.is_empty() {
            if !goes_on(&word) {
                return;
            }
            word.clear();
            full = false;
        }
        if part && !full {
            full = !push_lower(&mut word, c);
        }
        if is_word(c) {
            if !goes_on(&word) {
                return;
            }
            word.clear();
        }
    }
    if !word.is_empty() {
        goes_on(&word);
    }
}

/// Adds a character in lower case; false: there is no room for it.
fn push_lower(word: &mut String, c: char) -> bool {
    // A dot that lower case sets above a letter is no letter.
    for lower in c.to_lowercase().filter(|lower| lower.is_alphanumeric()) {
        if word.len() + lower.len_utf8() > MAX_WORD_BYTES {
            return false;
        }
        word.push(lower);
    }
    true
}

/// Whether a character is of a script that sets no spaces between words: Thai, Lao, Myanmar, Khmer,
/// Kana, Han.
fn is_word(c: char) -> bool {
    let script = matches!(
        c,
        '\u{e00}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{3040}'..='\u{30ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    );
    script && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() {
        assert_eq!(words("Hello, wörld! it's 10:30"), ["hello", "wörld", "it", "s", "10", "30"]);
        assert_eq!(words("same Same SAME"), ["same"]);
        assert_eq!(words("İstanbul ΣΟΦΟΣ ǅ"), ["istanbul", "σοφοσ", "ǆ"]);
        assert_eq!(words("東京 に行く"), ["東", "京", "に", "行", "く"]);
        assert_eq!(words("v2東ab"), ["v2", "東", "ab"]);
        assert_eq!(words(" \0\u{301} -- 🎉"), Vec::<String>::new());
        assert_eq!(words_of(b"\xff word"), Vec::<String>::new());
    }

    #[test]
    fn a_word_and_their_number_are_bounded() {
        let long = "ä".repeat(40);
        assert_eq!(words(&long), ["ä".repeat(16)]);
        let long = format!("a{}", "ä".repeat(40));
        assert_eq!(words(&long), [format!("a{}", "ä".repeat(15))], "cut at a character");
        let many: Vec<String> = (0..1000).map(|n| format!("w{n}")).collect();
        assert_eq!(words(&many.join(" ")), many[..MAX_WORDS]);
        for text in [long, "x".repeat(16_384), "\u{fdfa}".repeat(99)] {
            assert!(words(&text).iter().all(|word| word.len() <= MAX_WORD_BYTES));
        }
    }

    #[test]
    fn the_last_word_of_a_query_may_go_on() {
        let fits = |query: &str, text: &str| Query::parse(query).unwrap().fits(text.as_bytes());
        assert!(fits("hel", "Hello world"));
        assert!(!fits("hel ", "Hello world"));
        assert!(fits("HELLO ", "Hello world"));
        assert!(fits("world hel", "Hello world"));
        assert!(!fits("wor hello", "Hello world"), "only the last one");
        assert!(fits("world \"hello", "Hello world"));
        assert!(fits("京", "東京") && fits("京東", "東京") && !fits("京都", "東京"));
        let long = "z".repeat(50);
        assert!(fits(&long, &long) && fits(&format!("{long} "), &long));
    }

    #[test]
    fn what_is_no_query_is_told_apart() {
        assert_eq!(Query::parse(""), Err(BadQuery::NoWord));
        assert_eq!(Query::parse(" ,. "), Err(BadQuery::NoWord));
        assert_eq!(Query::parse("a b c d e f g h i"), Err(BadQuery::TooManyWords));
        let repeated = Query::parse("a b a b a b a b a b").unwrap();
        assert_eq!(repeated, Query { whole: vec!["a".into()], prefix: Some("b".into()) });
    }
}
