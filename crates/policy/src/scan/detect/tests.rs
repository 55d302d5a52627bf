//! Every rule's examples, and that neither cuts nor direction change what is found.

use super::{
    examples::{Dice, EXAMPLES, made},
    *,
};
use proptest::prelude::*;

fn found(text: &[u8]) -> Vec<(&'static str, Range<usize>)> {
    let mut all = Vec::new();
    Detectors::shared().find(text, text.len(), true, &mut |hit| all.push((hit.rule.id, hit.span)));
    all
}

fn finds(id: &str, text: &str) -> bool {
    found(text.as_bytes()).iter().any(|(it, _)| *it == id)
}

#[test]
fn each_rule_finds_its_examples_and_not_its_near_misses() {
    let mut faults = Vec::new();
    for (id, _, _, pattern, positive, near_miss) in EXAMPLES {
        let wrong = positive.iter().map(|it| made(it)).filter(|it| !finds(id, it));
        faults.extend(wrong.map(|it| format!("{id} {pattern} does not find {it}")));
        let wrong = near_miss.iter().map(|it| made(it)).filter(|it| finds(id, it));
        faults.extend(wrong.map(|it| format!("{id} {pattern} finds {it}")));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn there_are_rules_enough() {
    assert!(RULES.len() >= 200, "{}", RULES.len());
}

/// What has no keyword is read in one direction only; a card number backwards is another number.
#[test]
fn what_is_written_backwards_is_found() {
    let named = |id: &str| RULES.iter().any(|it| it.id == id && !matches!(it.shape, Shape::Own));
    for (id, _, _, _, positive, _) in EXAMPLES.iter().filter(|it| named(it.0)) {
        for text in positive.iter().map(|it| made(it)) {
            let backwards: String = text.chars().rev().collect();
            assert!(finds(id, &backwards), "{id}: {backwards}");
        }
    }
}

#[test]
fn tokens_in_capitals_or_small_letters_are_found() {
    for template in ["ghp_%{github 30}", "xoxb-%{digit 12}-%{digit 12}-%{alnum 24}", "glpat-%{alnum 20}"] {
        let text = made(template);
        let id = found(text.as_bytes())[0].0;
        assert!(finds(id, &text.to_uppercase()), "{text}");
        assert!(finds(id, &text.to_lowercase()) || id == "github-pat", "{text}");
    }
}

#[test]
fn the_patterns_mean_what_the_regex_crate_says() {
    for (id, _, _, pattern, positive, _) in EXAMPLES.iter().filter(|it| !it.3.is_empty()) {
        let regex = regex::bytes::RegexBuilder::new(&format!("^(?:{pattern})")).unicode(false).build().unwrap();
        let rule = RULES.iter().find(|it| it.id == *id).unwrap();
        let (Shape::Token { exact: automaton, .. }
        | Shape::Assigned { value: automaton, .. }
        | Shape::Led { value: automaton, .. }) = &rule.shape
        else {
            continue;
        };
        for text in positive.iter().map(|it| made(it)) {
            for at in 0..text.len() {
                let rest = &text.as_bytes()[at..];
                assert_eq!(automaton.longest(rest.iter()).is_some(), regex.is_match(rest), "{id} at {at} of {text}");
            }
        }
    }
}

/// Every keyword at every offset, in the middle and at the ends.
#[test]
fn no_keyword_is_passed_over() {
    struct Seen(Vec<(usize, u16)>);
    impl filter::Met for Seen {
        fn block(&mut self, at: usize, block: u32) {
            rules::announces(block, |it| {
                self.0.extend(at.checked_add_signed(-isize::from(it.offset)).map(|at| (at, it.keyword)));
            });
        }
        fn digits(&mut self, _: usize) {}
    }
    for index in 0.. {
        let Some(keyword) = rules::keyword(index) else { break };
        // Three bytes announce only with a fourth that may follow, and alone lead to nothing.
        for before in [0, 1, 2, 3, 15, 16, 17, 30, 57, 58, 59, 60, 61, 62, 63, 64, 65]
            .into_iter()
            .filter(|_| keyword.text.len() > 3)
        {
            let mut text = b"x".repeat(before);
            text.extend_from_slice(keyword.text);
            let mut seen = Seen(Vec::new());
            filter::walk(&text, &mut seen);
            assert!(seen.0.contains(&(before, index)), "{:?} at {before}", std::str::from_utf8(keyword.text));
        }
    }
}

/// What is found where every keyword is looked for at every place, one after the other: slow, and plain to see.
fn found_slowly(text: &[u8]) -> Vec<(&'static str, Range<usize>)> {
    struct Places<'t, 's>(&'s mut Search<'t>);
    impl filter::Met for Places<'_, '_> {
        fn block(&mut self, _: usize, _: u32) {}
        fn digits(&mut self, at: usize) {
            self.0.digits(at);
        }
    }
    let mut search = Search::new(text, true);
    for at in 0..text.len() {
        for keyword in (0..).map_while(|index| rules::keyword(index).map(|_| index)) {
            for reversed in [false, true] {
                search.announced(at, &Entry { block: 0, keyword, offset: 0, reversed });
            }
        }
    }
    filter::walk(text, &mut Places(&mut search));
    unnamed::wallet_keys(text, |span| search.unnamed(Check::Wif, span));
    let mut found: Vec<_> = search.found.into_iter().map(|(rule, span)| (RULES[usize::from(rule)].id, span)).collect();
    found.sort_by_key(|it| (it.1.start, it.1.end, it.0));
    found.dedup();
    found
}

/// A text of examples, parts of them and noise.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let examples: Vec<&str> = EXAMPLES.iter().flat_map(|it| it.4.iter().chain(it.5)).copied().collect();
    let part = (0..examples.len(), 0..4usize, any::<u64>()).prop_map(move |(which, kind, seed)| {
        let text = made(examples[which]);
        match kind {
            0 => text.into_bytes(),
            1 => text.into_bytes().into_iter().rev().collect(),
            2 => text[..usize::try_from(seed).unwrap() % text.len()].bytes().collect(),
            _ => Dice::of(&seed.to_string()).of_set("abcABC019_-= \":\n", 300).into_bytes(),
        }
    });
    proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn windows_find_what_the_whole_has(text in text(), step in 1usize..3000) {
        let mut in_windows = Vec::new();
        let (mut settled_before, mut end) = (0, 0);
        while end < text.len() {
            end = (end + step + MAX_MATCH).min(text.len());
            let last = end == text.len();
            let settled = if last { end } else { end - MAX_MATCH };
            let from = settled_before.max(MAX_MATCH) - MAX_MATCH;
            Detectors::shared().find(&text[from..end], settled - from, last, &mut |hit| {
                let span = hit.span.start + from..hit.span.end + from;
                if span.end >= settled_before {
                    in_windows.push((hit.rule.id, span));
                }
            });
            settled_before = settled;
            end = if last { end } else { settled };
        }
        in_windows.sort_by_key(|it| (it.1.start, it.1.end, it.0));
        let mut whole = found(&text);
        whole.sort_by_key(|it| (it.1.start, it.1.end, it.0));
        prop_assert_eq!(in_windows, whole);
    }

    #[test]
    fn what_the_filter_leads_to_is_what_a_plain_search_finds(text in text()) {
        let text = &text[..text.len().min(300)];
        let mut quickly = found(text);
        quickly.sort_by_key(|it| (it.1.start, it.1.end, it.0));
        prop_assert_eq!(quickly, found_slowly(text));
    }

    #[test]
    fn any_bytes_are_searched_without_harm(text in proptest::collection::vec(any::<u8>(), 0..2000)) {
        found(&text);
    }
}

/// The quick form of `cargo xtask corpus`: a book of the toolchain that builds this.
#[test]
#[expect(clippy::print_stderr, reason = "says that it was skipped")]
fn a_book_holds_no_secret() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = std::process::Command::new(rustc).args(["--print", "sysroot"]).output().unwrap().stdout;
    let book = std::path::Path::new(std::str::from_utf8(&sysroot).unwrap().trim()).join("share/doc/rust/html/book");
    let Ok(pages) = std::fs::read_dir(&book) else {
        eprintln!("SKIPPED(no documentation of the toolchain): {}", book.display());
        return;
    };
    for page in pages.map(|it| it.unwrap().path()).filter(|it| it.extension().is_some_and(|it| it == "html")).take(40) {
        assert_eq!(found(&std::fs::read(&page).unwrap()), [], "{}", page.display());
    }
}
