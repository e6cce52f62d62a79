//! The table, beside what upstream hogflare was measured at.

use super::run::{Measured, Shape};

/// Upstream hogflare (commit f330f77, native release build, nothing written to disk, answers after a sink's 200) on
/// two cores: events/s, CPU in µs per event, p50 and p99 in ms. It was measured with 16 connections where we use 32.
const UPSTREAM: [(usize, bool, bool, &str); 6] = [
    (1, false, false, "  8 700   76.0    0.10    0.40"),
    (1, true, false, " 28 000   36.4    1.04    3.50"),
    (100, false, false, " 92 000   10.4    1.06    1.50"),
    (100, true, false, "103 000   14.7   14.50   34.00"),
    (100, false, true, " 85 800   10.9    1.10    4.30"),
    (100, true, true, "104 000   13.4   13.00   45.00"),
];

pub(super) fn print_header() {
    println!(
        "                              |             measured here, answers after fsync              |   upstream, answers from memory"
    );
    println!(
        "batch  connections  body      |  events/s  CPU µs/ev  p50 ms  p99 ms  cores  RSS MB   503   |  ev/s     µs/ev   p50     p99"
    );
}

pub(super) fn print_row(shape: Shape, measured: &Measured) {
    let seconds = measured.elapsed.as_secs_f64();
    let cpu = measured.cpu().map(|cpu| cpu.as_secs_f64());
    let per_event = cpu.map(|cpu| cpu * 1e6 / measured.events as f64);
    let rss = measured.after.map(|usage| usage.rss_bytes_peak as f64 / 1e6);
    let upstream = UPSTREAM
        .iter()
        .find(|(batch, many, gzip, _)| (*batch, *many, *gzip) == (shape.batch, shape.connections > 1, shape.gzip))
        .map_or("-", |(.., figures)| figures);
    println!(
        "{:>5}  {:>11}  {:<8}  |  {:>8.0}  {:>9}  {:>6.2}  {:>6.2}  {:>5}  {:>6}  {:>4}   |  {upstream}",
        shape.batch,
        shape.connections,
        if shape.gzip { "gzip".to_owned() } else { format!("{} B", measured.body_bytes) },
        measured.events_per_second(),
        shown(per_event, 1),
        measured.latency_ms(0.5),
        measured.latency_ms(0.99),
        shown(cpu.map(|cpu| cpu / seconds), 2),
        shown(rss, 0),
        measured.refused,
    );
}

/// A figure, or a dash where it is not known.
pub(super) fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

pub(super) fn print_footer() {
    println!(
        "CPU counts all threads of the server, commits and queries included; generator and server share the machine."
    );
}
