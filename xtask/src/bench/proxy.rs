//! An intercepted request against a direct one, against the same door without scanning and a proxy that does nothing but
//! intercept, and against mitmproxy.

use super::{
    door::{self, Door, Way},
    load::{Load, Measured},
    rivals::{BIG, Bottle, Contender, Direct, HOST, Mitmproxy, cpu, upstream},
    table::{Table, median, microseconds, milliseconds, quantile, ratio},
};
use anyhow::Result;
use std::{path::Path, time::Duration};

const ROUNDS: usize = 5;

/// One kind of load.
struct Shape {
    title: &'static str,
    path: &'static str,
    concurrency: usize,
    /// Of each client; mitmproxy, which takes long, gets a tenth.
    requests: usize,
    fresh: bool,
}

const SHAPES: [Shape; 4] = [
    Shape { title: "1 KB requests, one client", path: "/1k", concurrency: 1, requests: 3000, fresh: false },
    Shape { title: "1 KB requests, 32 clients", path: "/1k", concurrency: 32, requests: 500, fresh: false },
    Shape { title: "New tunnels, one client", path: "/1k", concurrency: 1, requests: 400, fresh: true },
    Shape { title: "100 MB body", path: "/100m", concurrency: 1, requests: 2, fresh: false },
];

pub(super) fn measure(program: &Path) -> Result<Vec<Table>> {
    let upstream = upstream();
    let directory = tempfile::tempdir()?;
    let ca = directory.path().join("upstream.pem");
    std::fs::write(&ca, upstream.authority().pem())?;
    let mut contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(Direct { address: upstream.address(), ca }), Box::new(Bottle::start(program, &upstream)?)];
    let example = door::program()?;
    for way in [Way::Everything, Way::Unscanned, Way::Bare] {
        contenders.push(Box::new(Door::start(&example, way, &upstream)?));
    }
    if let Some(mitmproxy) = Mitmproxy::start(&upstream)? {
        contenders.push(Box::new(mitmproxy));
    }
    let mut tables: Vec<Table> =
        SHAPES.iter().map(|shape| compare(shape, &contenders, upstream.address())).collect::<Result<_>>()?;
    drop(contenders);
    tables.extend(door::instructions(&example, &upstream)?);
    Ok(tables)
}

/// The rounds of one contender.
#[derive(Default)]
struct Figures {
    p50: Vec<Duration>,
    p99: Vec<Duration>,
    /// Per request.
    cpu: Vec<Duration>,
    /// Per request, of the whole: the throughput.
    each: Vec<Duration>,
}

fn compare(shape: &Shape, contenders: &[Box<dyn Contender>], address: std::net::SocketAddr) -> Result<Table> {
    let mut figures: Vec<Figures> = contenders.iter().map(|_| Figures::default()).collect();
    for round in 0..=ROUNDS {
        for (contender, figures) in contenders.iter().zip(&mut figures) {
            let slow = contender.name() == "mitmproxy" && shape.requests > 20;
            let requests = if slow { shape.requests / 10 } else { shape.requests };
            let load = Load {
                proxy: None,
                address,
                host: HOST.to_owned(),
                port: address.port(),
                path: shape.path.to_owned(),
                ca: Default::default(),
                concurrency: shape.concurrency,
                requests,
                fresh: shape.fresh,
            };
            let before = contender.pid().map(cpu);
            let measured = contender.drive(&load)?;
            let spent = contender.pid().map(cpu).zip(before).map(|(after, before)| after.saturating_sub(before));
            // The first round opens what is kept open.
            if round > 0 {
                figures.add(&measured, spent);
            }
        }
    }
    Ok(table(shape, contenders, &figures))
}

impl Figures {
    fn add(&mut self, measured: &Measured, spent: Option<Duration>) {
        let count = u32::try_from(measured.latencies.len()).unwrap_or(u32::MAX).max(1);
        self.p50.push(median(&measured.latencies));
        self.p99.push(quantile(&measured.latencies, 0.99));
        self.cpu.push(spent.unwrap_or_default() / count);
        self.each.push(measured.took / count);
    }
}

fn table(shape: &Shape, contenders: &[Box<dyn Contender>], figures: &[Figures]) -> Table {
    let bulk = shape.path == "/100m";
    let columns: &[&'static str] = match bulk {
        true => &["way", "MB/s", "time against direct", "CPU of the proxy per body (least)"],
        false => &["way", "p50", "added to direct", "p99", "requests/s", "CPU of the proxy per request (least)"],
    };
    let mut table = Table::new(shape.title, columns);
    let base = figures.first().map(|direct| median(&direct.p50)).unwrap_or_default();
    for (contender, figures) in contenders.iter().zip(figures) {
        let (p50, spent) = (median(&figures.p50), median(&figures.cpu));
        // Others on the machine make it more and never less, so the least of the rounds stands beside their median.
        let least = figures.cpu.iter().min().copied().unwrap_or_default();
        let shown = if bulk { milliseconds } else { microseconds };
        let cost = contender.pid().map_or("–".to_owned(), |_| format!("{} ({})", shown(spent), shown(least)));
        let name = contender.name().to_owned();
        table.row(if bulk {
            vec![name, format!("{:.0}", BIG as f64 / 1e6 / p50.as_secs_f64()), ratio(p50, base), cost]
        } else {
            let each = median(&figures.each).as_secs_f64();
            let added = microseconds(p50.saturating_sub(base));
            vec![name, microseconds(p50), added, microseconds(median(&figures.p99)), format!("{:.0}", 1.0 / each), cost]
        });
    }
    table
}
