//! The `budgets:` part of a bottle.

use super::{
    tree::Node,
    walk::{Keys, Table, Walk},
};
use crate::{
    notation::{Count, Period, Size},
    policy::{Budget, Budgets},
};

pub(super) const BUDGETS: Keys =
    Keys { of: "`budgets`", names: &["period", "bytes", "requests", "hosts", "random", "per_host"], strict: true };
pub(super) const PER_HOST: Keys = Keys { of: "`per_host`", names: &["bytes", "requests"], strict: true };

pub(super) fn budgets(walk: &mut Walk<'_>, node: &Node) -> Budgets {
    let mut budgets = Budgets::default();
    let Some(mut table) = walk.table(node, BUDGETS) else { return budgets };
    if let Some(node) = table.take("period") {
        budgets.period = walk.parsed::<Period>(node, "`period`").map_or(Budgets::PERIOD, |period| period.0);
    }
    budgets.bottle = budget(walk, &mut table);
    if let Some(node) = table.take("hosts") {
        let count = walk.parsed::<Count>(node, "`hosts`").map(|count| u32::try_from(count.0).unwrap_or(u32::MAX));
        budgets.hosts = count.or(budgets.hosts);
    }
    if let Some(node) = table.take("random") {
        budgets.random = walk.parsed::<Size>(node, "`random`").map(|size| size.0).or(budgets.random);
    }
    if let Some(mut table) = table.take("per_host").and_then(|node| walk.table(node, PER_HOST)) {
        budgets.host = budget(walk, &mut table);
    }
    budgets
}

fn budget(walk: &mut Walk<'_>, table: &mut Table<'_>) -> Budget {
    Budget {
        bytes: table.take("bytes").and_then(|node| walk.parsed::<Size>(node, "`bytes`")).map(|size| size.0),
        requests: table.take("requests").and_then(|node| walk.parsed::<Count>(node, "`requests`")).map(|count| count.0),
    }
}
