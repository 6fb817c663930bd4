//! The regexes that are in use, by what was written: one that stands in many rules is compiled once, and a rule that is compiled again
//! does not compile its regexes again.
//!
//! A regex costs more than all the rest of its rule. It is held by those that use it alone; what nobody uses any more is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::FixedState;
use regex_automata::meta::Regex;

use super::pattern::{Pattern, PatternError, Substitution, compile_any, compile_whole};

/// As many are held before the first look for those that nobody uses.
const FIRST_LOOK: usize = 256;

/// Regexes in use.
#[derive(Debug, Default)]
pub struct Patterns {
    whole: Table,
    /// Those that know their groups.
    any: Table,
}

/// Regexes of one form.
#[derive(Debug, Default)]
struct Table {
    known: HashMap<Arc<str>, Weak<Regex>, FixedState>,
    /// With so many the next look for those that nobody uses.
    look: usize,
}

impl Patterns {
    /// The pattern that must match a whole text.
    pub fn pattern(&mut self, source: &str) -> Result<Pattern, PatternError> {
        let (source, regex) = self.whole.get(source, compile_whole)?;
        Ok(Pattern { source, regex })
    }
    /// The replacement of what a pattern matches.
    pub fn substitution(&mut self, pattern: &str, rewrite: &str) -> Result<Substitution, PatternError> {
        let (pattern, regex) = self.any.get(pattern, compile_any)?;
        Substitution::of(pattern, regex, rewrite)
    }
}

impl Table {
    fn get(&mut self, source: &str, compile: impl FnOnce(&str) -> Result<Regex, PatternError>) -> Result<(Arc<str>, Arc<Regex>), PatternError> {
        if let Some((source, held)) = self.known.get_key_value(source)
            && let Some(regex) = held.upgrade()
        {
            return Ok((source.clone(), regex));
        }
        let (source, regex): (Arc<str>, _) = (source.into(), Arc::new(compile(source)?));
        if self.known.len() >= self.look.max(FIRST_LOOK) {
            self.known.retain(|_, held| held.strong_count() > 0);
            self.look = 2 * self.known.len();
        }
        self.known.insert(source.clone(), Arc::downgrade(&regex));
        Ok((source, regex))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_is_compiled_once_while_it_is_in_use() {
        let mut patterns = Patterns::default();
        let first = patterns.pattern("/a+").unwrap();
        let again = patterns.pattern("/a+").unwrap();
        assert!(Arc::ptr_eq(&first.regex, &again.regex) && again.matches(b"/aa"));
        let held = Arc::downgrade(&first.regex);
        drop((first, again));
        assert!(held.upgrade().is_none(), "what nobody uses is gone");
        assert!(patterns.pattern("/a+").unwrap().matches(b"/a"));
    }

    #[test]
    fn a_whole_pattern_and_one_that_replaces_are_two() {
        let mut patterns = Patterns::default();
        assert!(patterns.pattern("a").is_ok());
        assert_eq!(patterns.substitution("a", "b").unwrap().apply("/a/a").as_deref(), Some("/b/b"));
        assert!(patterns.substitution("(", "b").is_err() && patterns.pattern("a)|(b").is_err());
    }

    #[test]
    fn regexes_of_the_past_are_forgotten() {
        let mut patterns = Patterns::default();
        for n in 0..10 * FIRST_LOOK {
            assert!(patterns.pattern(&format!("/{n}")).is_ok());
        }
        assert!(patterns.whole.known.len() <= FIRST_LOOK, "{}", patterns.whole.known.len());
    }
}
