//! The table that a person reads: what happened on the bare host, and what in the bottle.

use bottle_probe::{Outcome, Report, Section};

pub(super) fn print(title: &str, control: &[Report], held: &[Report]) {
    println!("\n{title}\n{:62} {:10} {:10} held by", "attempt", "bare host", "bottle");
    let mut section: Option<Section> = None;
    let mut ordered: Vec<&Report> = held.iter().collect();
    ordered.sort_by_key(|report| report.section);
    for report in ordered {
        if section != Some(report.section) {
            section = Some(report.section);
            println!("-- {}", heading(report.section));
        }
        let before = control.iter().find(|other| other.name == report.name);
        let before = before.map_or("-", |report| short(&report.outcome));
        println!("{:62} {before:10} {:10} {}", report.name, short(&report.outcome), detail(&report.outcome));
    }
    let count = |reports: &[Report], wanted: &str| reports.iter().filter(|it| short(&it.outcome) == wanted).count();
    println!(
        "{} attempts: {} escape on the bare host, {} in the bottle",
        held.len(),
        count(control, "escaped"),
        count(held, "ESCAPED") + count(held, "escaped"),
    );
}

fn heading(section: Section) -> &'static str {
    match section {
        Section::FailClosed => "Fail closed",
        Section::GoingAround => "Going around",
        Section::NamesAndTls => "Names and TLS",
        Section::Http => "HTTP",
        Section::NamesLookedUp => "Names looked up",
        Section::Secrets => "Secrets",
        Section::Life => "Life",
    }
}

fn short(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Escaped(_) => "escaped",
        Outcome::Held(_) => "held",
        Outcome::NotApplicable(_) => "n/a",
    }
}

fn detail(outcome: &Outcome) -> String {
    let (Outcome::Escaped(text) | Outcome::Held(text) | Outcome::NotApplicable(text)) = outcome;
    // What came out of a bottle is shown without what a terminal would obey.
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(90).collect()
}
