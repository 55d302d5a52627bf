//! What the terminal sends, as events. What has no meaning here is none.

use crate::event::{Event, Key, Mouse};
use ratatui::crossterm::event::{
    Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};

pub(crate) fn event(input: &Input) -> Option<Event> {
    match input {
        Input::Key(key) if key.kind != KeyEventKind::Release => self::key(key).map(Event::Key),
        Input::Paste(text) => Some(Event::Pasted(text.clone())),
        Input::Resize(width, height) => Some(Event::Resized { width: *width, height: *height }),
        Input::Mouse(mouse) => {
            let (column, row) = (mouse.column, mouse.row);
            let mouse = match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => Mouse::Press { column, row },
                MouseEventKind::ScrollUp => Mouse::Scroll { column, row, down: false },
                MouseEventKind::ScrollDown => Mouse::Scroll { column, row, down: true },
                _ => return None,
            };
            Some(Event::Mouse(mouse))
        }
        _ => None,
    }
}

fn key(key: &KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Control(c.to_ascii_lowercase()),
        KeyCode::Char(_) if key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Tab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        _ => return None,
    })
}
