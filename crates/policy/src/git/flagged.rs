//! What a person should see before it goes anywhere, though nothing in it is secret: changes that make a machine run
//! something, by path or by content.
//!
//! Invariant: an answer depends on the whole path or the content given, never on what else is pushed.

/// Why a changed path is worth a look.
pub fn path(path: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(path).to_lowercase();
    let name = text.rsplit('/').next().unwrap_or_default();
    let below = |directory: &str| text.starts_with(directory) || text.contains(&format!("/{directory}"));
    let is_ci =
        [".github/workflows/", ".github/actions/", ".gitea/", ".forgejo/", ".circleci/", ".buildkite/", ".woodpecker/"]
            .into_iter()
            .any(below)
            || text.starts_with(".gitlab/")
            || [
                "jenkinsfile",
                ".gitlab-ci.yml",
                ".travis.yml",
                ".drone.yml",
                "azure-pipelines.yml",
                "bitbucket-pipelines.yml",
                "cloudbuild.yaml",
                "appveyor.yml",
                ".woodpecker.yml",
                "action.yml",
                "action.yaml",
            ]
            .contains(&name);
    if is_ci {
        return Some("a CI workflow");
    }
    let is_hook = below(".githooks/")
        || below(".husky/")
        || below("hooks/")
        || matches!(name, ".pre-commit-config.yaml" | "lefthook.yml" | ".lefthook.yml");
    if is_hook {
        return Some("a hook");
    }
    match name {
        "codeowners" => Some("who must review"),
        ".gitattributes" => Some("filters of git"),
        ".gitmodules" => Some("a submodule"),
        ".envrc" | ".npmrc" | ".yarnrc.yml" | "dependabot.yml" => Some("what a developer's machine runs or trusts"),
        _ if [".vscode/", ".idea/", ".devcontainer/", ".claude/", ".cursor/"].into_iter().any(below) => {
            Some("what an editor runs")
        }
        _ => None,
    }
}

/// Why a file's content is worth a look. A path says nothing about a blob: the same one may stand at several.
pub fn content(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Some("a pointer to a large file, which is not searched");
    }
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.contains("\"scripts\""))?;
    let runs = ["\"preinstall\"", "\"install\"", "\"postinstall\"", "\"prepare\"", "\"prepublish\""];
    runs.into_iter().any(|script| text.contains(script)).then_some("a script that installing a package runs")
}

/// The first address in a file of submodules that git would run or read from the machine itself.
pub fn submodule(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.contains("[submodule"))?;
    let addresses = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim().eq_ignore_ascii_case("url")).then(|| value.trim().trim_matches('"').trim())
    });
    let mut odd = addresses.filter(|address| {
        let known =
            ["https://", "ssh://", "git://", "http://", "./", "../"].iter().any(|form| address.starts_with(form));
        let scp = address.split_once(':').is_some_and(|(host, _)| !host.contains('/') && !host.starts_with('-'));
        address.contains("::") || address.starts_with('-') || !(known || scp && !address.contains("://"))
    });
    odd.next().map(|address| address.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_run_something_are_shown() {
        for flagged in [
            ".github/workflows/ci.yml",
            ".GitHub/Workflows/x.yaml",
            "sub/.github/workflows/ci.yml",
            ".gitlab-ci.yml",
            "Jenkinsfile",
            "docs/CODEOWNERS",
            ".gitattributes",
            "a/.gitmodules",
            ".husky/pre-commit",
            ".vscode/tasks.json",
            ".envrc",
        ] {
            assert!(path(flagged.as_bytes()).is_some(), "{flagged}");
        }
        for plain in ["src/main.rs", "github/workflows.md", "README.md", "vscode/x", "src/webhooks/x.rs"] {
            assert_eq!(path(plain.as_bytes()), None, "{plain}");
        }
    }

    #[test]
    fn contents_that_run_something_are_shown() {
        assert!(content(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n").is_some());
        assert!(content(br#"{"scripts": {"postinstall": "id"}}"#).is_some());
        assert_eq!(content(br#"{"scripts": {"test": "id"}}"#), None);
        for (url, is_odd) in [
            ("https://github.com/a/b", false),
            ("../b", false),
            ("git@github.com:a/b", false),
            ("ext::sh -c id", true),
            ("file:///etc", true),
            ("-u./payload", true),
            ("/etc", true),
            ("git@host::x", true),
        ] {
            let file = format!("[submodule \"x\"]\n\tpath = x\n\tURL = {url}\n");
            assert_eq!(submodule(file.as_bytes()).is_some(), is_odd, "{url}");
        }
    }
}
