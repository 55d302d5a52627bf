//! An image that the engine has not, fetched by the engine from the registry that its name says.
//!
//! Nothing is pulled for a name without one: which registry it would be is the engine's to decide, and so whose image.

use super::{ImageError, LAST_LINES, Maker, Told, find, said, words};
use crate::backend::docker::error::EngineError;
use bollard::{auth::DockerCredentials, query_parameters::CreateImageOptions};
use futures_util::StreamExt as _;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Between two words on how far a layer is.
const EVERY: Duration = Duration::from_secs(1);

/// What `docker login` has kept for a registry.
#[derive(Debug, Clone)]
pub enum Login {
    Password { user: String, password: String },
    Token(String),
}

/// A name with its registry, as the engine is asked for it.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    name: &'a str,
    tag: &'a str,
}

impl<'a> Named<'a> {
    /// `None` for a name that says no registry. Without a tag the engine would pull them all.
    fn of(reference: &'a str) -> Option<Named<'a>> {
        let (registry, rest) = reference.split_once('/')?;
        let says = registry == "localhost" || registry.contains(['.', ':']);
        if !says || rest.is_empty() {
            return None;
        }
        if reference.contains('@') {
            return Some(Named { name: reference, tag: "" });
        }
        let (name, tag) = match rest.rsplit_once(':') {
            Some((_, tag)) => (reference.get(..reference.len() - tag.len() - 1)?, tag),
            None => (reference, "latest"),
        };
        Some(Named { name, tag })
    }
}

impl Maker<'_> {
    /// Has it be there.
    pub(super) async fn named(&mut self, reference: &str) -> Result<String, ImageError> {
        match (find(self.engine, reference).await, Named::of(reference)) {
            (Err(EngineError::NoImage(_)), Some(named)) => self.pull(reference, &named).await?,
            (found, _) => drop(found?),
        }
        Ok(reference.to_owned())
    }

    async fn pull(&mut self, reference: &str, named: &Named<'_>) -> Result<(), ImageError> {
        let whole = if named.tag.is_empty() { named.name.to_owned() } else { format!("{}:{}", named.name, named.tag) };
        (self.told)(Told::Begins(&format!("the engine pulls {whole}")));
        let options = CreateImageOptions {
            from_image: Some(named.name.to_owned()),
            tag: (!named.tag.is_empty()).then(|| named.tag.to_owned()),
            ..CreateImageOptions::default()
        };
        let credentials = (self.logins)(reference).map(|login| match login {
            Login::Password { user, password } => {
                DockerCredentials { username: Some(user), password: Some(password), ..DockerCredentials::default() }
            }
            Login::Token(token) => DockerCredentials { identitytoken: Some(token), ..DockerCredentials::default() },
        });
        let mut last = VecDeque::new();
        let mut told_at = None::<Instant>;
        let mut stream = std::pin::pin!(self.engine.docker.create_image(Some(options), None, credentials));
        while let Some(answer) = stream.next().await {
            let failed =
                |why: String, last: &VecDeque<String>| ImageError::Pull { name: whole.clone(), why, said: said(last) };
            let info = answer.map_err(|error| failed(words(error), &last))?;
            if let Some(why) = info.error_detail.and_then(|detail| detail.message) {
                return Err(failed(why, &last));
            }
            let Some(status) = info.status else { continue };
            let goes_on = info.progress_detail.and_then(|it| it.current.zip(it.total)).filter(|(_, total)| *total > 0);
            let line = match (info.id, goes_on) {
                (Some(layer), Some((current, total))) => {
                    if told_at.is_some_and(|at| at.elapsed() < EVERY) {
                        continue;
                    }
                    told_at = Some(Instant::now());
                    format!("{layer}: {status}, {} of {} MiB", current >> 20, total >> 20)
                }
                (Some(layer), None) => format!("{layer}: {status}"),
                (None, _) => status,
            };
            for line in line.lines().filter(|line| !line.trim().is_empty()) {
                (self.told)(Told::Line(line));
                last.push_back(line.to_owned());
                if last.len() > LAST_LINES {
                    last.pop_front();
                }
            }
        }
        let found =
            self.engine.docker.inspect_image(reference).await.map_err(crate::backend::docker::engine::refused)?;
        let digests = found.repo_digests.unwrap_or_default();
        let digest = digests.iter().find_map(|it| it.rsplit_once('@').map(|(_, digest)| digest)).unwrap_or_default();
        (self.told)(Told::Begins(&format!("pulled {whole}: {digest}")));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Named;

    #[test]
    fn only_a_name_that_says_its_registry_is_pulled() {
        for (reference, expected) in [
            ("registry.example/team/image:tag", Some(("registry.example/team/image", "tag"))),
            ("localhost:5000/image", Some(("localhost:5000/image", "latest"))),
            ("localhost/a:1", Some(("localhost/a", "1"))),
            ("docker.io/library/debian", Some(("docker.io/library/debian", "latest"))),
            ("a.b/c@sha256:00", Some(("a.b/c@sha256:00", ""))),
            ("debian:bookworm", None),
            ("library/debian", None),
            ("sha256:0123", None),
            ("a.b/", None),
            ("debian", None),
        ] {
            let found = Named::of(reference);
            assert_eq!(found, expected.map(|(name, tag)| Named { name, tag }), "{reference}");
        }
    }
}
