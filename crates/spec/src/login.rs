//! A subscription's login as a provider describes it: where its client keeps the tokens on the host, and how they are
//! renewed (RFC 6749, section 6).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Pointers are those of RFC 6901, into the client's file, which is JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginSource {
    /// The client's folder, below the user's home.
    pub folder: String,
    /// A variable that names the folder instead.
    #[serde(default)]
    pub folder_variable: Option<String>,
    /// In the folder.
    pub file: String,
    pub access: String,
    pub refresh: String,
    /// When the access token expires, in milliseconds since 1970. Where there is none, the token says so itself, being
    /// a JWT (RFC 7519), or nobody does.
    #[serde(default)]
    pub expires: Option<String>,
    /// The account that clients name beside the token; no secret.
    #[serde(default)]
    pub account: Option<String>,
    /// When it was last renewed, as RFC 3339 has it.
    #[serde(default)]
    pub renewed: Option<String>,
    /// Further fields of a renewal's answer, each with where it is kept.
    #[serde(default)]
    pub also: BTreeMap<String, String>,
    /// A [`crate::notify::WebhookUrl`]: HTTPS, or HTTP to this machine.
    pub token_url: String,
    pub client_id: String,
    #[serde(default)]
    pub request: RequestForm,
}

/// How a renewal is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestForm {
    /// As RFC 6749 has it.
    #[default]
    Form,
    Json,
}
