//! The examples of the rules, made of their templates: what stands in `rules/*.yaml` is never a secret itself.
//!
//! `%{alnum 36}` is 36 letters and digits, the same on every run; other makers give what has a checksum. docs/rules.md
//! lists them.

use crate::scan::checksum;

/// Id, keywords, lead (`=` for a value given to a name), pattern, positive examples and near misses, as they are written.
pub(super) type Example = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

include!(concat!(env!("OUT_DIR"), "/examples.rs"));

/// A generator that gives the same for the same seed (Marsaglia's xorshift).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn of(text: &str) -> Dice {
        Dice(
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
                | 1,
        )
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % bound
    }

    pub(super) fn of_set(&mut self, set: &str, count: usize) -> String {
        (0..count).map(|_| char::from(set.as_bytes()[self.below(set.len())])).collect()
    }
}

pub(super) fn made(template: &str) -> String {
    let mut dice = Dice::of(template);
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("%{") {
        let (maker, after) = after.split_once('}').unwrap_or_else(|| panic!("no end in `{template}`"));
        text.push_str(before);
        text.push_str(&make(maker, &mut dice));
        rest = after;
    }
    text + rest
}

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const DIGITS: &str = "0123456789";
const BASE58: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

fn make(maker: &str, dice: &mut Dice) -> String {
    let (name, count) = maker.split_once(' ').unwrap_or((maker, "0"));
    let count: usize = count.parse().unwrap_or_else(|_| panic!("`{maker}`: how many?"));
    let sets: &[&str] = match name {
        "digit" => &[DIGITS],
        "lower" => &[LOWER],
        "upper" => &[UPPER],
        "hex" => &["abcdef", DIGITS],
        "HEX" => &["ABCDEF", DIGITS],
        "lowernum" => &[LOWER, DIGITS],
        "uppernum" => &[UPPER, DIGITS],
        "base32" => &[UPPER, "234567"],
        "alnum" => &[UPPER, LOWER, DIGITS],
        "base64" => &[UPPER, LOWER, DIGITS, "+/"],
        "base64url" => &[UPPER, LOWER, DIGITS, "-_"],
        "word" => &[UPPER, LOWER, DIGITS, "_"],
        "base58" => &[BASE58],
        "uuid" => return [8, 4, 4, 4, 12].map(|it| dice.of_set("0123456789abcdef", it)).join("-"),
        "github" => {
            let random = make(&format!("alnum {count}"), dice);
            return format!("{random}{}", checksum::tests::github_sum(&random));
        }
        "wif" => return checksum::tests::wallet_key(dice.below(200)),
        "jwt" => {
            let parts = ["{\"alg\":\"HS256\",\"typ\":\"JWT\"}", "{\"sub\":\"1093\",\"name\":\"Ada\",\"iat\":1516}"];
            let text = format!("{}.{}", parts.map(base64).join("."), make("base64url 43", dice));
            return text["eyJ".len()..].to_owned();
        }
        "basic" => return base64(&format!("ada:{}", make(&format!("alnum {count}"), dice))),
        "snowflake" => return base64(&format!("1{}", dice.of_set(DIGITS, 17))),
        other => panic!("no maker `{other}`"),
    };
    // One of each kind and no two the same beside each other, so that a rule may ask for what real ones have.
    let all = sets.concat();
    let mut text: Vec<u8> = Vec::new();
    while text.len() < count {
        let set = if text.len() < sets.len().min(3) && count > 4 { sets[text.len()] } else { &all };
        let next = dice.of_set(set, 1).into_bytes()[0];
        if text.last() != Some(&next) {
            text.push(next);
        }
    }
    String::from_utf8(text).unwrap()
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: String = text.bytes().map(|byte| format!("{byte:08b}")).collect();
    let sixes = bits.as_bytes().chunks(6).map(|six| {
        let six = format!("{:0<6}", std::str::from_utf8(six).unwrap());
        char::from(DIGITS[usize::from_str_radix(&six, 2).unwrap()])
    });
    sixes.collect()
}
