//! Values in pieces, and requests that only look like it.

use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE};
use proptest::prelude::*;

const SECRET: &str = "ghx_A1b2C3d4-E5f6G7h8_I9j0K1l2M3n4";

fn fragments() -> Fragments {
    let values = [("other", false, "nothing-of-this-is-ever-said-here"), ("token", true, SECRET)];
    Fragments::new(values.into_iter().map(|(name, canary, value)| (name.into(), canary, value.as_bytes())))
}

fn spelled() -> Vec<(&'static str, String)> {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
    vec![
        ("plain", SECRET.to_owned()),
        ("reversed", SECRET.chars().rev().collect()),
        ("hex", hex(SECRET)),
        ("base64", URL_SAFE.encode(SECRET).trim_end_matches('=').to_owned()),
        ("lower case", SECRET.to_lowercase()),
    ]
}

fn pieces(text: &str, length: usize) -> Vec<&str> {
    text.as_bytes().chunks(length).map(|piece| std::str::from_utf8(piece).unwrap()).collect()
}

/// How many pieces had been said when it was found.
fn said<'p>(fragments: &mut Fragments, pieces: impl IntoIterator<Item = &'p str>) -> Option<usize> {
    pieces.into_iter().enumerate().find_map(|(index, piece)| {
        // A counter in another field, and other requests between.
        let noise = format!("{index}");
        assert_eq!(fragments.value(WINDOW, &["api.test", "n"], noise.as_bytes()), None);
        assert_eq!(fragments.value(WINDOW, &["api.test", "path"], b"repos"), None);
        let found = fragments.value(WINDOW, &["api.test", "d"], piece.as_bytes())?;
        assert_eq!((found.rule, found.name.as_deref()), (CANARY, Some("token")));
        assert!(!format!("{found:?}").contains("ghx"), "{found:?}");
        Some(index)
    })
}

#[test]
fn pieces_in_order_are_put_together_however_short() {
    for (how, text) in spelled() {
        for length in [1, 2, 3, 7, 11] {
            assert!(said(&mut fragments(), pieces(&text, length)).is_some(), "{how} by {length}");
        }
    }
    assert!(said(&mut fragments(), pieces(&SECRET[4..], 3)).is_some(), "without what all of its kind begin with");
    assert_eq!(said(&mut fragments(), pieces(&SECRET[..24], 3)), None, "two thirds of it");
}

#[test]
fn longer_pieces_are_put_together_in_any_order_and_from_any_place() {
    for (how, text) in spelled() {
        let mut fragments = fragments();
        let found = pieces(&text, 9).into_iter().rev().enumerate().find_map(|(index, piece)| {
            let within = format!("{{\"part\": \"{index}:{piece}:\"}}");
            fragments.text(WINDOW, within.as_bytes())
        });
        assert!(found.is_some(), "{how}");
    }
}

#[test]
fn each_piece_may_be_encoded_for_itself() {
    for length in [2, 5] {
        let hex: Vec<String> =
            SECRET.as_bytes().chunks(length).map(|it| it.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        assert!(said(&mut fragments(), hex.iter().map(String::as_str)).is_some(), "{length}");
    }
    let base64: Vec<String> = SECRET.as_bytes().chunks(7).map(|it| URL_SAFE.encode(it)).collect();
    assert!(said(&mut fragments(), base64.iter().map(String::as_str)).is_some());
    let percent: Vec<String> = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert!(said(&mut fragments(), percent.iter().map(String::as_str)).is_some());
}

#[test]
fn pieces_are_forgotten_after_the_window() {
    let (mut fragments, step) = (fragments(), WINDOW / 2);
    for (index, piece) in pieces(SECRET, 9).into_iter().enumerate() {
        assert_eq!(fragments.text(step * 2 * u32::try_from(index).unwrap(), piece.as_bytes()), None);
    }
    let late = pieces(SECRET, 2).into_iter().enumerate().find_map(|(index, piece)| {
        fragments.value(WINDOW * 9 + (WINDOW + step) * u32::try_from(index).unwrap(), &["d"], piece.as_bytes())
    });
    assert_eq!(late, None);
}

#[test]
fn another_value_in_between_begins_anew_and_places_are_bounded() {
    let mut fragments = fragments();
    for piece in pieces(SECRET, 2) {
        assert_eq!(fragments.value(WINDOW, &["d"], piece.as_bytes()), None);
        assert_eq!(fragments.value(WINDOW, &["d"], b"?!"), None);
    }
    for place in 0..2 * MAX_PLACES {
        fragments.value(WINDOW, &[&place.to_string()], b"gh");
    }
    assert!(fragments.places.len() <= MAX_PLACES);
}

proptest! {
    #[test]
    fn what_holds_nothing_of_it_finds_nothing(texts in prop::collection::vec("[a-zA-Z0-9 /?&=%.-]{0,60}", 0..40)) {
        let mut fragments = fragments();
        for text in texts {
            prop_assert_eq!(fragments.value(WINDOW, &["d"], text.as_bytes()), None);
            prop_assert_eq!(fragments.text(WINDOW, text.as_bytes()), None);
        }
    }
}
