//! A notification on the desktop: one call of org.freedesktop.Notifications (the Desktop Notifications Specification) on
//! the session's bus.

use super::message::Message;
use std::collections::HashMap;
use zbus::{Connection, Error, Variant, connection::Builder};

const SERVICE: &str = "org.freedesktop.Notifications";
const OBJECT: &str = "/org/freedesktop/Notifications";

pub(super) async fn connect(address: &str) -> Result<Connection, Error> {
    Builder::address(address).build().await
}

pub(super) async fn show(bus: &Connection, message: &Message) -> Result<(), Error> {
    let lines: Vec<String> = message.lines().iter().map(|line| marked_up(line)).collect();
    let body = format!("{}\nbot-bottle requests", lines.join("\n"));
    // Application, what it replaces, icon, summary, body, actions, hints, and for how long: as the server likes.
    let hints: HashMap<&str, Variant<'_>> = HashMap::from([("category", Variant::from("im.received"))]);
    let actions: [&str; 0] = [];
    let body = ("bot-bottle", 0_u32, "dialog-question", message.title(), body, &actions[..], hints, -1_i32);
    bus.call_method(Some(SERVICE), OBJECT, Some(SERVICE), "Notify", &body).await.map(drop)
}

/// Servers may take the body for markup.
fn marked_up(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_body_is_markup() {
        assert_eq!(marked_up("<a href='x'>&amp;"), "&lt;a href='x'&gt;&amp;amp;");
    }
}
