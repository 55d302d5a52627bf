//! Patterns for a set of paths: as they are while they are few, with `*` for a part that takes many values, and `/**`
//! where there are many below one place.

use std::collections::{BTreeMap, BTreeSet};

/// More patterns than this nobody reads; then what lies in one directory becomes one.
const FEW: usize = 12;
/// So many values in one place stand for any.
const MANY: usize = 3;

/// `None` = they have so little in common that only all paths will do.
pub(super) fn patterns(paths: &BTreeSet<String>) -> Option<Vec<String>> {
    if paths.iter().any(|path| path.contains('*')) {
        return None;
    }
    let mut patterns: BTreeSet<String> = starred(paths);
    let deepest = patterns.iter().map(|pattern| pattern.split('/').count()).max().unwrap_or_default();
    let mut depth = deepest;
    while patterns.len() > FEW && depth > 2 {
        depth -= 1;
        patterns = gathered(&patterns, depth);
    }
    (patterns.len() <= FEW).then(|| patterns.into_iter().collect())
}

/// Paths that differ in one identifier become one pattern.
fn starred(paths: &BTreeSet<String>) -> BTreeSet<String> {
    let mut shapes: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for path in paths {
        let shape: Vec<&str> = path.split('/').map(|part| if is_identifier(part) { "*" } else { part }).collect();
        shapes.entry(shape.join("/")).or_default().push(path);
    }
    let pattern = |(shape, paths): (String, Vec<&String>)| match paths.as_slice() {
        [one] => (*one).clone(),
        _ => shape,
    };
    shapes.into_iter().map(pattern).collect()
}

/// What is more than [`MANY`] times in one directory of this depth becomes all that is below it.
fn gathered(patterns: &BTreeSet<String>, depth: usize) -> BTreeSet<String> {
    let directory = |pattern: &str| -> Option<String> {
        let parts: Vec<&str> = pattern.split('/').collect();
        parts.get(..depth).filter(|_| parts.len() > depth).map(|parts| parts.join("/"))
    };
    let mut inside: BTreeMap<String, usize> = BTreeMap::new();
    for below in patterns.iter().filter_map(|pattern| directory(pattern)) {
        *inside.entry(below).or_default() += 1;
    }
    let gather = |pattern: &String| match directory(pattern) {
        Some(below) if inside.get(&below).is_some_and(|count| *count > MANY) => format!("{below}/**"),
        _ => pattern.clone(),
    };
    patterns.iter().map(gather).collect()
}

/// A number, a hash, a UUID: a part that is another one the next time.
fn is_identifier(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let hex = part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let word = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    !part.is_empty()
        && (digits == part.len() || hex && part.len() >= 7 && digits > 0 || word && part.len() >= 16 && digits > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[&str]) -> Option<Vec<String>> {
        patterns(&paths.iter().map(|path| (*path).to_owned()).collect())
    }

    #[test]
    fn few_paths_stay_as_they_are() {
        assert_eq!(of(&["/", "/a/b", "/pulls/17"]).unwrap(), ["/", "/a/b", "/pulls/17"]);
    }

    #[test]
    fn identifiers_become_a_star_once_there_are_two() {
        assert_eq!(of(&["/pulls/17", "/pulls/18"]).unwrap(), ["/pulls/*"]);
        let commits = ["/c/0a1b2c3d4e", "/c/9f8e7d6c5b", "/c/main"];
        assert_eq!(of(&commits).unwrap(), ["/c/*", "/c/main"]);
    }

    #[test]
    fn many_below_one_place_become_the_place() {
        let mut paths: Vec<String> = ('a'..='z').map(|name| format!("/simple/{name}/index")).collect();
        paths.push("/about".to_owned());
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(of(&paths).unwrap(), ["/about", "/simple/**"]);
        let apart: Vec<String> = ('a'..='z').map(|name| format!("/{name}")).collect();
        assert_eq!(of(&apart.iter().map(String::as_str).collect::<Vec<_>>()), None);
    }
}
