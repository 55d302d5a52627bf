//! What each byte can be part of, as tables.

pub(in crate::scan) const BASE64: u8 = 1;
pub(in crate::scan) const HEX: u8 = 2;
pub(in crate::scan) const BASE32_UPPER: u8 = 4;
pub(in crate::scan) const BASE32_LOWER: u8 = 8;
/// Printable ASCII, no space.
pub(in crate::scan) const GRAPHIC: u8 = 16;
/// Neither printable ASCII nor tab, line feed or carriage return.
pub(in crate::scan) const ODD: u8 = 32;
pub(in crate::scan) const ALPHANUMERIC: u8 = 64;
/// Where an escape may begin.
pub(in crate::scan) const ESCAPE: u8 = 128;

pub(in crate::scan) static CLASS: [u8; 256] = classes();
/// Letters and digits folded to one case, digits to the letters that they stand for; 0 for all else.
pub(in crate::scan) static FOLD: [u8; 256] = folded(false);
/// The same with signs that stand for letters.
pub(in crate::scan) static FOLD_SIGNS: [u8; 256] = folded(true);
/// The value of a digit of base64, of either alphabet; 255 for none.
pub(in crate::scan) static BASE64_VALUE: [u8; 256] = base64_values();

pub(in crate::scan) fn is(byte: u8, class: u8) -> bool {
    of(&CLASS, byte) & class != 0
}

#[expect(clippy::indexing_slicing, reason = "a table of 256 has a place for every byte")]
pub(in crate::scan) fn of(table: &[u8; 256], byte: u8) -> u8 {
    table[usize::from(byte)]
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated when this is compiled")]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_') {
            class |= BASE64;
        }
        if byte.is_ascii_hexdigit() {
            class |= HEX;
        }
        if matches!(byte, b'A'..=b'Z' | b'2'..=b'7') {
            class |= BASE32_UPPER;
        }
        if matches!(byte, b'a'..=b'z' | b'2'..=b'7') {
            class |= BASE32_LOWER;
        }
        if byte.is_ascii_graphic() {
            class |= GRAPHIC;
        }
        if byte.is_ascii_alphanumeric() {
            class |= ALPHANUMERIC;
        }
        if !matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r') {
            class |= ODD;
        }
        if matches!(byte, b'%' | b'\\' | b'&') {
            class |= ESCAPE;
        }
        table[index] = class;
        index += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated when this is compiled")]
const fn folded(signs: bool) -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        table[index] = match byte.to_ascii_lowercase() {
            b'0' => b'o',
            b'1' | b'i' => b'l',
            b'2' => b'z',
            b'3' => b'e',
            b'4' => b'a',
            b'5' => b's',
            b'7' => b't',
            b'8' => b'b',
            b'9' => b'g',
            letter if letter.is_ascii_alphanumeric() => letter,
            b'@' if signs => b'a',
            b'$' if signs => b's',
            b'!' | b'|' if signs => b'l',
            b'+' if signs => b't',
            _ => 0,
        };
        index += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated when this is compiled")]
const fn base64_values() -> [u8; 256] {
    let mut table = [255; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        table[index] = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => 255,
        };
        index += 1;
    }
    table
}
