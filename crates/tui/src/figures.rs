//! Numbers as a person reads them.

use crate::event::{Bottle, TICK};

/// So many milliseconds, in the largest unit that fits: `59s`, `2h`.
pub fn age(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

/// The time of the day in UTC.
pub(crate) fn clock(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// With a unit, at most six characters wide up to tebibytes.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];
    let fit = units.into_iter().rev().find(|(_, shift)| bytes >> shift > 0);
    match fit {
        None => format!("{bytes}B"),
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            if tenths < 100 {
                format!("{}.{}{unit}", tenths / 10, tenths % 10)
            } else {
                format!("{}{unit}", tenths / 10)
            }
        }
    }
}

/// In percent of a core, from thousandths.
pub(crate) fn cpu(thousandths: u64) -> String {
    match thousandths {
        0..100 => format!("{}.{}%", thousandths / 10, thousandths % 10),
        _ => format!("{}%", thousandths / 10),
    }
}

/// The newest of these numbers that so many characters have room for, each as a bar of its share of the largest.
pub(crate) fn bars(numbers: &[u64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let newest = numbers.get(numbers.len().saturating_sub(width)..).unwrap_or_default();
    let largest = newest.iter().copied().max().unwrap_or(0).max(1);
    let bar = |number: &u64| {
        if *number == 0 {
            return ' ';
        }
        let share = u128::from(*number) * 7 / u128::from(largest);
        usize::try_from(share).ok().and_then(|share| BARS.get(share)).copied().unwrap_or('█')
    };
    newest.iter().map(bar).collect()
}

/// Bytes a second, of the newest ticks that are complete.
pub(crate) fn rate(traffic: &[u64]) -> u64 {
    const OVER: usize = 5;
    let complete = traffic.split_last().map_or(&[][..], |(_, complete)| complete);
    let newest = complete.get(complete.len().saturating_sub(OVER)..).unwrap_or_default();
    let count = u64::try_from(newest.len().max(1)).unwrap_or(1);
    newest.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)) / (count * TICK)
}

/// All that is known of a bottle, a line each.
pub(crate) fn facts(bottle: &Bottle, now: u64) -> Vec<String> {
    let Bottle { agent, state, created, cpu, memory, traffic, allowed, denied, .. } = bottle;
    let or = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
    vec![
        format!("state      {}", state.name()),
        format!("agent      {agent}"),
        format!("age        {}", or(created.map(|created| age(now.saturating_sub(created))))),
        format!("cpu        {}", or(cpu.map(self::cpu))),
        format!("memory     {}", or(memory.map(bytes))),
        format!("traffic    {}/s", bytes(rate(traffic))),
        format!("           {}", bars(traffic, traffic.len())),
        format!("decisions  {allowed} allowed, {denied} denied since the dashboard began"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        let many = [0, 1023, 1024, 10 << 10, 1 << 20, 1_500_000, u64::MAX].map(bytes);
        assert_eq!(many, ["0B", "1023B", "1.0K", "10K", "1.0M", "1.4M", "16777215T"]);
        assert_eq!([0, 5, 99, 100, 2000].map(cpu), ["0.0%", "0.5%", "9.9%", "10%", "200%"]);
        assert_eq!([59_999, 60_000, 7_200_000, 90_000_000].map(age), ["59s", "1m", "2h", "1d"]);
        assert_eq!(clock(86_399_999), "23:59:59Z");
        assert_eq!(bars(&[9, 0, 1, 50, 100], 4), " ▁▄█");
        assert_eq!(bars(&[u64::MAX, u64::MAX - 1], 9), "█▇");
        assert_eq!(rate(&[100, 20, 20, 20, 20, 20, 999]), 10);
        assert_eq!(rate(&[]), 0);
    }
}
