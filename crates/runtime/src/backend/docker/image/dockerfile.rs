//! What has to be known of a Dockerfile: where it is, and which images it begins with.

use super::error::ImageError;
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// No Dockerfile is larger.
const MOST: u64 = 1 << 20;

/// The context's directory, and the file's name in it.
pub(super) fn place(path: &Path) -> Result<(PathBuf, String), ImageError> {
    let none = || ImageError::NoDockerfile(path.to_owned());
    let file = if path.is_dir() { path.join("Dockerfile") } else { path.to_owned() };
    if !file.is_file() {
        return Err(none());
    }
    let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(none)?.to_owned();
    Ok((file.parent().ok_or_else(none)?.to_owned(), name))
}

pub(super) fn read(path: &Path) -> Result<String, ImageError> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text));
    read.map(|_| text).map_err(|source| ImageError::Read { path: path.to_owned(), source })
}

/// As root, in one step. The line is handed to the image's shell whole: there is nothing in it that would be another
/// instruction.
pub(super) fn installed(base: &str, line: &str) -> String {
    let words = serde_json::json!(["/bin/sh", "-c", line]);
    format!("FROM {base}\nUSER 0\nRUN {words}\n")
}

/// The images that a build takes from, each once; `None` where a variable may name another.
pub(super) fn bases(text: &str) -> Option<Vec<String>> {
    let (mut stages, mut found): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut note = |name: &str, stages: &[String]| {
        let own = name.eq_ignore_ascii_case("scratch") || stages.iter().any(|stage| stage.eq_ignore_ascii_case(name));
        if !own && !name.bytes().all(|byte| byte.is_ascii_digit()) && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
        !name.contains('$')
    };
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines() {
        let mut words = line.split_whitespace();
        let Some(instruction) = words.next() else { continue };
        if instruction.eq_ignore_ascii_case("FROM") {
            let mut words = words.skip_while(|word| word.starts_with("--"));
            if !note(words.next()?, &stages) {
                return None;
            }
            let named = words.next().is_some_and(|word| word.eq_ignore_ascii_case("AS"));
            stages.extend(words.next().filter(|_| named).map(str::to_owned));
        } else {
            for name in words.filter_map(|word| word.strip_prefix("--from=")) {
                if !note(name, &stages) {
                    return None;
                }
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_that_a_build_takes_from_are_known_or_said_to_be_unknown() {
        let text = "# FROM none\nFROM --platform=linux/amd64 debian:12 AS one\nfrom scratch\nFROM one\n\
                    COPY --from=one a b\nCOPY --chown=0 --from=busybox:1 c d\nCOPY --from=0 e f\nFROM \\\n debian:12\n";
        assert_eq!(bases(text).unwrap(), ["debian:12", "busybox:1"]);
        assert_eq!(bases("ARG BASE=x\nFROM $BASE\n"), None);
        assert_eq!(bases("FROM\n"), None);
        assert_eq!(bases("RUN x\n").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_line_that_is_installed_is_one_instruction() {
        let text = installed("debian:12", "npm i x\nUSER 1 \"quoted\" \\");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("FROM debian:12\nUSER 0\nRUN [\"/bin/sh\",\"-c\",\"npm i x\\n"), "{text}");
    }
}
