//! The `login:` part of a provider.

use super::{
    tree::Node,
    walk::{Keys, Table, Walk},
};
use crate::{
    login::{LoginSource, RequestForm},
    notation::Variable,
    notify::WebhookUrl,
};
use std::path::{Component, Path};

pub(super) const LOGIN: Keys = Keys {
    of: "`login`",
    names: &[
        "folder",
        "folder_variable",
        "file",
        "access",
        "refresh",
        "expires",
        "account",
        "renewed",
        "also",
        "token_url",
        "client_id",
        "request",
    ],
    strict: false,
};

pub(super) fn login(walk: &mut Walk<'_>, node: &Node) -> Option<LoginSource> {
    let mut table = walk.table(node, LOGIN)?;
    let mut needed = |key: &str, hint: &str, read: fn(&mut Walk<'_>, &Node, &str) -> Option<String>| {
        let Some(node) = table.take(key) else {
            walk.missing(table.spot, "a login", key, hint);
            return None;
        };
        read(walk, node, &format!("`{key}`"))
    };
    let folder = needed("folder", "write `folder: .client`, from the user's home", below);
    let file = needed("file", "write `file: credentials.json`, in the folder", below);
    let access = needed("access", "write where the access token is: `access: /tokens/access`", pointer);
    let refresh = needed("refresh", "write where the refresh token is: `refresh: /tokens/refresh`", pointer);
    let token_url = needed("token_url", "write `token_url: https://auth.example.com/oauth/token`", url);
    let client_id = needed("client_id", "write the client's own `client_id`", plain);
    let folder_variable = table.take("folder_variable").map(|node| walk.parsed::<Variable>(node, "`folder_variable`"));
    let mut given = |table: &mut Table<'_>, key: &str| {
        table.take(key).map(|node| pointer(walk, node, &format!("`{key}`"))).map_or(Some(None), |read| read.map(Some))
    };
    let (expires, account, renewed) =
        (given(&mut table, "expires"), given(&mut table, "account"), given(&mut table, "renewed"));
    let also = match table.take("also") {
        Some(node) => walk
            .map(node, "`also`")
            .into_iter()
            .filter_map(|(field, node)| Some((field.value.to_owned(), pointer(walk, node, "a place in `also`")?)))
            .collect(),
        None => Default::default(),
    };
    let forms = [("form", RequestForm::Form), ("json", RequestForm::Json)];
    let request = table.take("request").map_or(Some(RequestForm::Form), |node| walk.choice(node, "`request`", &forms));
    let folder_variable = match folder_variable {
        Some(variable) => Some(variable?.0),
        None => None,
    };
    Some(LoginSource {
        folder: folder?,
        folder_variable,
        file: file?,
        access: access?,
        refresh: refresh?,
        expires: expires?,
        account: account?,
        renewed: renewed?,
        also,
        token_url: token_url?,
        client_id: client_id?,
        request: request?,
    })
}

fn plain(walk: &mut Walk<'_>, node: &Node, what: &str) -> Option<String> {
    let text = walk.text(node, what)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        walk.note(node.spot, format!("{what} is a word of printable ASCII"), None);
        return None;
    }
    Some(text.to_owned())
}

fn url(walk: &mut Walk<'_>, node: &Node, what: &str) -> Option<String> {
    let text = walk.text(node, what)?;
    walk.parsed::<WebhookUrl>(node, what).map(|_| text.to_owned())
}

/// Of objects alone: a place in a list moves.
fn pointer(walk: &mut Walk<'_>, node: &Node, what: &str) -> Option<String> {
    let text = walk.text(node, what)?;
    if !text.starts_with('/') || text.len() > 256 {
        let hint = "a JSON pointer, as `/tokens/access_token`";
        walk.note(node.spot, format!("{what} is no place in a JSON document"), Some(hint.to_owned()));
        return None;
    }
    Some(text.to_owned())
}

fn below(walk: &mut Walk<'_>, node: &Node, what: &str) -> Option<String> {
    let text = walk.text(node, what)?;
    let inside = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
    if text.is_empty() || !inside || text.contains('\0') {
        let hint = "a path without `..` that begins with no `/`";
        walk.note(node.spot, format!("{what} must lie in the user's home"), Some(hint.to_owned()));
        return None;
    }
    Some(text.to_owned())
}
