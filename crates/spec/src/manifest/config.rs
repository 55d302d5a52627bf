//! `config.yaml`: what the user wants whatever the bottle.

use super::{
    Mistakes, egress,
    tree::Node,
    walk::{Keys, Table, Walk},
};
use crate::notify::{Notify, UrlSource, Webhook, WebhookKind, WebhookUrl};
use std::path::{Path, PathBuf};

pub(super) const CONFIG: Keys = Keys { of: "the configuration", names: &["notify"], strict: false };
pub(super) const NOTIFY: Keys = Keys { of: "`notify`", names: &["bell", "desktop", "webhooks", "ca"], strict: true };
pub(super) const WEBHOOK: Keys = Keys { of: "a webhook", names: &["ntfy", "slack", "json", "token"], strict: true };

/// Webhooks; each is told of every request.
const MAX_WEBHOOKS: usize = 8;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Paths in it are as written.
    pub notify: Notify,
}

impl Config {
    /// Reads the text of the file at `path`; an empty one is the defaults.
    pub fn parse(path: &Path, text: &str) -> Result<Config, Mistakes> {
        let mut walk = Walk::new(path);
        let config = match walk.read(text, 1)? {
            Some(root) if !root.is_null() => read(&mut walk, &root),
            _ => Some(Config::default()),
        };
        walk.finish(config)
    }
}

fn read(walk: &mut Walk<'_>, root: &Node) -> Option<Config> {
    let mut table = walk.table(root, CONFIG)?;
    let notify = table.take("notify").map(|node| notify(walk, node)).unwrap_or_default();
    Some(Config { notify })
}

fn notify(walk: &mut Walk<'_>, node: &Node) -> Notify {
    let Some(mut table) = walk.table(node, NOTIFY) else { return Notify::default() };
    // What is noted is not used.
    let mut truth = |table: &mut Table<'_>, key: &str| {
        table.take(key).and_then(|node| walk.truth(node, &format!("`{key}`"))).unwrap_or(true)
    };
    let (bell, desktop) = (truth(&mut table, "bell"), truth(&mut table, "desktop"));
    let webhooks = table.take("webhooks");
    let items = webhooks.map(|node| walk.list(node, "`webhooks`")).unwrap_or_default();
    if items.len() > MAX_WEBHOOKS {
        walk.note(node.spot, format!("at most {MAX_WEBHOOKS} webhooks"), None);
    }
    let webhooks = items.iter().filter_map(|item| webhook(walk, item)).collect();
    let ca = table.take("ca").and_then(|node| walk.text(node, "`ca`")).map(PathBuf::from);
    Notify { bell, desktop, webhooks, ca }
}

fn webhook(walk: &mut Walk<'_>, node: &Node) -> Option<Webhook> {
    let mut table = walk.table(node, WEBHOOK)?;
    let kinds = [("ntfy", WebhookKind::Ntfy), ("slack", WebhookKind::Slack), ("json", WebhookKind::Json)];
    let mut given = kinds.into_iter().filter_map(|(key, kind)| Some((kind, table.take(key)?))).collect::<Vec<_>>();
    let token = match table.take("token") {
        Some(node) => Some(egress::secret(walk, node)?),
        None => None,
    };
    match (given.pop(), given.is_empty()) {
        (Some((kind, url)), true) => Some(Webhook { kind, url: self::url(walk, url)?, token }),
        _ => {
            let hint = "write `ntfy: https://ntfy.sh/TOPIC`, `slack: env:NAME` or `json: https://HOST/PATH`";
            walk.note(node.spot, "a webhook is one of ntfy, slack and json", Some(hint.to_owned()));
            None
        }
    }
}

/// The text is not repeated in a message: whoever has it can post there.
fn url(walk: &mut Walk<'_>, node: &Node) -> Option<UrlSource> {
    let text = walk.text(node, "a webhook")?;
    if let Ok(secret) = text.parse() {
        return Some(UrlSource::Kept(secret));
    }
    match text.parse::<WebhookUrl>() {
        Ok(url) => Some(UrlSource::Written(url)),
        Err(error) => {
            let hint = "an address that is a secret is named by env:NAME, file:PATH, command:LINE or keyring:…";
            walk.note(node.spot, error.to_string(), Some(hint.to_owned()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Mistakes> {
        Config::parse(Path::new("/c.yaml"), text)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parse("# nothing\n").unwrap(), Config::default());
        let text = "notify:\n  bell: false\n  ca: ~/ca.pem\n  webhooks:\n    - { ntfy: https://ntfy.sh/t, token: env:NTFY }\n    \
                    - slack: env:SLACK\n    - json: http://127.0.0.1:1/x\n";
        let Notify { bell, desktop, webhooks, ca } = parse(text).unwrap().notify;
        assert_eq!((bell, desktop, ca.as_deref()), (false, true, Some(Path::new("~/ca.pem"))));
        let kinds: Vec<WebhookKind> = webhooks.iter().map(|webhook| webhook.kind).collect();
        assert_eq!(kinds, [WebhookKind::Ntfy, WebhookKind::Slack, WebhookKind::Json]);
        assert!(webhooks[0].token.is_some() && matches!(webhooks[1].url, UrlSource::Kept(_)));
    }

    #[test]
    fn every_mistake_is_told_and_no_address() {
        let text = "notfy: {}\nnotify:\n  bel: true\n  desktop: perhaps\n  webhooks:\n    - {}\n    - { ntfy: https://a.test/x, json: https://b.test/y }\n    \
                    - slack: http://hooks.test/sesame\n    - { ntfy: https://a.test, token: sesame }\n";
        let told = parse(text).unwrap_err().to_string();
        for part in ["c.yaml:1:1: unknown key `notfy`", "3:3: unknown key `bel`", "4:12", "6:7", "7:7", "8:14", "9:"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("sesame"), "{told}");
    }
}
