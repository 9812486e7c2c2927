//! Stop strings: texts that end a generation and are not part of it.

use super::hold::{Found, find};

/// Looks for stop strings in a text that comes in pieces, and gives out what certainly lies before the first of them. What may be
/// the beginning of one is held back.
///
/// The first is the one that is complete first, however the text is cut into pieces; of several that end at the same character,
/// the longest. So `"abcd"` and `"bc"` stop `abcd` before `bc`.
///
/// ```
/// use emberlm::text::StopStrings;
///
/// let mut stop = StopStrings::new(["\nUser:"]);
/// assert_eq!(stop.push("Paris.\nUs"), "Paris.");
/// assert_eq!(stop.push("er: and"), "");
/// assert!(stop.found());
/// ```
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    texts: Vec<String>,
    held: String,
    out: String,
    found: bool,
}

impl StopStrings {
    /// Stops at any of these texts; empty ones are left out.
    pub fn new<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        let texts = texts.into_iter().map(Into::into).filter(|text| !text.is_empty()).collect();
        Self { texts, ..Self::default() }
    }

    /// Adds text and returns what is certain to be before a stop string. After one was found, nothing comes any more.
    pub fn push(&mut self, text: &str) -> &str {
        self.out.clear();
        if self.found {
            return &self.out;
        }
        self.held.push_str(text);
        let end = match find(&self.held, self.texts.iter().map(String::as_str)) {
            Found::From(at) => at,
            Found::At(start, _) => {
                self.found = true;
                self.held.truncate(start);
                start
            }
        };
        self.out.extend(self.held.drain(..end));
        &self.out
    }

    /// Ends the text: what was held back belongs to it.
    pub fn finish(&mut self) -> &str {
        self.out.clear();
        std::mem::swap(&mut self.out, &mut self.held);
        &self.out
    }

    /// Whether one was found.
    pub fn found(&self) -> bool {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stopped(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stop = StopStrings::new(stops.iter().copied());
        let mut out = String::new();
        for piece in pieces {
            out.push_str(stop.push(piece));
        }
        out.push_str(stop.finish());
        (out, stop.found())
    }

    #[test]
    fn what_may_begin_a_stop_string_is_held_back() {
        let mut stop = StopStrings::new(["STOP", "ТЧК"]);
        assert_eq!(stop.push("to S"), "to ");
        assert_eq!(stop.push("TO"), "");
        assert_eq!(stop.push("S"), "STO");
        assert_eq!(stop.push("x ТЧ"), "Sx ");
        assert_eq!(stop.push("К and on"), "");
        assert!(stop.found());
        assert_eq!(stop.push("more"), "");
        assert_eq!(stop.finish(), "");
    }

    #[test]
    fn the_text_before_a_stop_string_in_its_piece_is_kept() {
        assert_eq!(stopped(&["###"], &["a b###c"]), ("a b".into(), true));
        assert_eq!(stopped(&["###"], &["##", "x##"]), ("##x##".into(), false));
        assert_eq!(stopped(&["abcd", "bc"], &["xa", "b", "cd"]), ("xa".into(), true));
        assert_eq!(stopped(&["", "é🦙"], &["é", "é🦙"]), ("é".into(), true));
        assert_eq!(stopped(&[], &["any", "thing"]), ("anything".into(), false));
    }

    /// The definition, on the whole text.
    fn naive(stops: &[String], text: &str) -> (String, bool) {
        for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
            let ends = |s: &&String| !s.is_empty() && text[..end].ends_with(s.as_str());
            if let Some(longest) = stops.iter().filter(ends).map(String::len).max() {
                return (text[..end - longest].into(), true);
            }
        }
        (text.into(), false)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn pieces_make_no_difference(
            text in "[abé🦙]{0,24}",
            stops in prop::collection::vec("[abé🦙]{0,4}", 0..4),
            cuts in prop::collection::vec(0usize..5, 0..40),
        ) {
            let mut stop = StopStrings::new(stops.clone());
            let (mut out, mut shown) = (String::new(), Vec::new());
            let mut chars = text.chars();
            for cut in cuts.iter().chain([&usize::MAX]) {
                let piece: String = chars.by_ref().take(*cut).collect();
                out.push_str(stop.push(&piece));
                shown.push(out.clone());
            }
            out.push_str(stop.finish());
            let expected = naive(&stops, &text);
            prop_assert_eq!((out, stop.found()), expected.clone());
            // Nothing was ever given out that does not belong to the text.
            prop_assert!(shown.iter().all(|s| expected.0.starts_with(s.as_str())));
        }
    }
}
