//! The subcommand `audit`: asks a running server to prove that no row is lost or doubled.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::cli::AuditArgs;

/// Ranges and positions that the text shows of each kind; `--json` has up to 100.
const SHOWN: usize = 10;

/// 0 if every row is accounted for, 1 if something is unexplained, 2 if the server cannot be asked.
pub(crate) fn run(args: &AuditArgs) -> ExitCode {
    let report = match ask(args) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("hogflare: {error:#}");
            return ExitCode::from(2);
        }
    };
    if args.json {
        println!("{report}");
    } else {
        print!("{}", text(&report));
    }
    if report["ok"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ask(args: &AuditArgs) -> Result<Value> {
    let (status, body) = args.server.get("/api/audit")?;
    let report: Value = serde_json::from_str(&body).unwrap_or_default();
    if status != 200 || !report["ok"].is_boolean() {
        let message = report["error"]["message"].as_str().unwrap_or(&body);
        bail!("the server cannot audit its tables (status {status}): {message}");
    }
    Ok(report)
}

fn text(report: &Value) -> String {
    let mut out = String::new();
    for table in items(&report["tables"]) {
        // Writing to a string does not fail.
        _ = table_text(&mut out, table);
    }
    out.push_str(match report["ok"] == true {
        true => "OK: every position has one row, or its removal is stated\n",
        false => "NOT OK: see the problems above\n",
    });
    out
}

fn table_text(out: &mut String, table: &Value) -> std::fmt::Result {
    let snapshot = match table["snapshot_id"].as_str() {
        Some(id) => format!("at snapshot {id}"),
        None => "which has no snapshot yet".to_owned(),
    };
    let name = table["table"].as_str().unwrap_or_default();
    writeln!(out, "{name}: {} rows, {} of them in the table, {snapshot}", table["rows"], table["rows_in_table"])?;
    for sequence in items(&table["sequences"]) {
        sequence_text(out, sequence)?;
    }
    if table["rows_of_others"] != 0 {
        writeln!(out, "  rows of others: {}", table["rows_of_others"])?;
    }
    let missing = &table["missing"];
    if missing["total"] != 0 {
        writeln!(
            out,
            "  missing: {} rows; stated by our commits {}, by guests' snapshots {}, gone before the oldest kept \
             snapshot {}, unexplained {}",
            missing["total"],
            missing["by_us"],
            missing["by_guests"],
            missing["by_expired_snapshots"],
            missing["unexplained"]
        )?;
    }
    for guest in items(&table["guests"]) {
        let field = |name: &str| guest[name].as_str().unwrap_or_default();
        let (id, at, operation) = (field("snapshot_id"), field("committed_at"), field("operation"));
        let (removed, added) = (&guest["removed"], &guest["added"]);
        writeln!(out, "    guest's snapshot {id} at {at} ({operation}): removed {removed}, added {added}")?;
    }
    for problem in items(&table["problems"]) {
        writeln!(out, "  PROBLEM: {}", problem.as_str().unwrap_or_default())?;
    }
    Ok(())
}

fn sequence_text(out: &mut String, sequence: &Value) -> std::fmt::Result {
    let slot = sequence["slot"].as_str().unwrap_or("another server's");
    let writer = sequence["writer"].as_str().unwrap_or_default();
    if sequence["last"] == 0 && sequence["rows"] == 0 {
        return writeln!(out, "  {writer} ({slot}): no rows");
    }
    let (last, watermark, rows) = (&sequence["last"], &sequence["watermark"], &sequence["rows"]);
    write!(out, "  {writer} ({slot}): positions 1-{last}, {rows} rows, watermark {watermark}")?;
    if sequence["removed"] != 0 {
        write!(out, ", {} removed by us", sequence["removed"])?;
    }
    let ranges = items(&sequence["missing_ranges"]);
    if !ranges.is_empty() {
        let shown = ranges.iter().take(SHOWN).map(|range| format!("{}-{}", range[0], range[1]));
        let shown = shown.collect::<Vec<_>>().join(", ");
        write!(out, ", missing {shown}{}", more(&sequence["missing_range_count"], "ranges"))?;
    }
    let repeated = items(&sequence["repeated_positions"]);
    if !repeated.is_empty() {
        let shown = repeated.iter().take(SHOWN).map(Value::to_string).collect::<Vec<_>>().join(", ");
        write!(out, ", more than once {shown}{}", more(&sequence["repeated"], "rows"))?;
    }
    writeln!(out)
}

fn more(count: &Value, of_what: &str) -> String {
    match count.as_u64() {
        Some(count) if count > SHOWN as u64 => format!(" … ({count} {of_what})"),
        _ => String::new(),
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}
