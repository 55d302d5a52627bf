//! Every pane and everything that lies over them, as it looks on a small and on a large screen.

use crate::{after, drawn, host, key, pressed, screen, typed};
use bottle_tui::{
    draw::Colours,
    event::{Event, Key},
    state::State,
};
use ratatui::style::{Color, Style};

#[track_caller]
fn seen(name: &str, state: impl Fn() -> State) {
    for (width, height) in [(80, 24), (200, 50)] {
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), screen(state(), width, height));
    }
}

#[test]
fn panes() {
    for (name, number) in [("bottles", '1'), ("requests", '2'), ("decisions", '3'), ("log", '4')] {
        seen(name, || pressed(&[Key::Char(number)]));
    }
    seen("nothing", || after(&[]));
    seen("denials_of_one_bottle", || pressed(&typed("3bv")));
}

#[test]
fn what_lies_over_them() {
    let down = |count: usize, keys: &str| [vec![Key::Down; count], typed(keys)].concat();
    seen("request", || pressed(&[Key::Enter]));
    seen("approve", || pressed(&typed("a")));
    seen("push", || pressed(&down(1, "a")));
    seen("narrow", || pressed(&typed("n")));
    seen("narrow_refs", || pressed(&down(2, "n")));
    seen("narrowed", || pressed(&[typed("n"), vec![Key::Control('u')], typed("get"), vec![Key::Enter]].concat()));
    seen("deny", || pressed(&typed("dask for GET alone")));
    seen("choose", || pressed(&[down(3, "a"), vec![Key::Down]].concat()));
    seen("answer", || {
        after(&[&host::news()[..1], &[Event::Requests(vec![host::question(&[])]), key('a'), key('7')]].concat())
    });
    seen("bottle", || pressed(&[Key::Char('1'), Key::Enter]));
    seen("decision", || pressed(&[Key::Char('3'), Key::Up, Key::Enter]));
    seen("stop", || pressed(&typed("1x")));
    seen("resume", || pressed(&[typed("1"), vec![Key::End], typed("r")].concat()));
    seen("agents", || {
        let names = ["reviewer", "fixer"].map(str::to_owned).to_vec();
        after(&[host::news(), vec![Event::Agents(names), Event::Key(Key::Down)]].concat())
    });
    seen("preflight", || {
        let lines = ["backend    namespace", "agent      fixer", "routes     docs.rs:443"].map(str::to_owned).to_vec();
        after(&[host::news(), vec![Event::Preflight { agent: "fixer".to_owned(), lines }]].concat())
    });
    seen("help", || pressed(&typed("?")));
}

/// The style of the first cell that begins this text.
#[track_caller]
fn style_of(text: &str, state: &State, colours: Colours) -> Style {
    let buffer = drawn(state, 80, 24, colours);
    for row in 0..24 {
        let cells: Vec<_> = (0..80).filter_map(|column| buffer.cell((column, row))).collect();
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        if let Some(at) = line.find(text) {
            return cells[line[..at].chars().count()].style();
        }
    }
    panic!("{text} is not there");
}

#[test]
fn a_diff_has_colours_where_there_are_any() {
    let state = pressed(&[Key::Down, Key::Enter]);
    for (text, colour) in [
        ("+    println", Color::Green),
        ("-    println", Color::Red),
        ("@@ -1", Color::Cyan),
        ("\"hello, {}\"", Color::Yellow),
    ] {
        assert_eq!(style_of(text, &state, Colours::Sixteen).fg, Some(colour), "{text}");
        assert_eq!(style_of(text, &state, Colours::None).fg, Some(Color::Reset), "{text}");
    }
    // Of a large screen, too, nothing has a colour where there are none.
    for keys in ["1", "2", "3", "4", "2n", "2d"] {
        let buffer = drawn(&pressed(&typed(keys)), 80, 24, Colours::None);
        assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset), "{keys}");
    }
}

#[test]
fn every_size_of_a_screen_is_drawn() {
    for (width, height) in [(1, 1), (3, 2), (10, 3), (20, 5), (79, 23), (80, 24), (119, 30), (120, 30), (300, 3)] {
        for keys in ["1", "2", "3", "4", "2n", "2d", "?", "1x"] {
            let mut state = pressed(&typed(keys));
            state.update(Event::Resized { width, height });
            state.update(Event::Key(Key::Down));
            drawn(&state, width, height, Colours::Sixteen);
        }
    }
}
