//! The subcommand `sql`: one statement to a running server.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::cli::SqlArgs;

pub(crate) fn run(args: &SqlArgs) -> Result<()> {
    let format = if args.format == "table" { "json" } else { &args.format };
    let url = args.server.address("/api/sql");
    let request = args.server.with_token(ureq::post(&url));
    let request = request.config().http_status_as_error(false).build();
    let mut response = request
        .send_json(body(args, format)?)
        .with_context(|| format!("cannot reach {url}; is the server running? --url names another one"))?;
    let failed = response.status().as_u16() != 200;
    let body = response.body_mut().with_config().limit(u64::MAX).read_to_string().context("the answer was cut off")?;
    if failed {
        let error: Value = serde_json::from_str(&body).unwrap_or_default();
        let message = error["error"]["message"].as_str().unwrap_or(&body);
        bail!("{message}");
    }
    if args.format == "table" {
        print_table(&serde_json::from_str(&body).context("the answer is no JSON")?);
    } else {
        print!("{body}");
    }
    Ok(())
}

fn body(args: &SqlArgs, format: &str) -> Result<Value> {
    let mut body = json!({"sql": args.query, "format": format});
    if let Some(time) = &args.as_of {
        body["as_of"] = json!(time);
    }
    if !args.snapshots.is_empty() {
        let mut snapshots = Map::new();
        for named in &args.snapshots {
            let (table, snapshot) =
                named.split_once(':').with_context(|| format!("--snapshot is TABLE:SNAPSHOT, not {named}"))?;
            if snapshots.insert(table.to_owned(), json!(snapshot)).is_some() {
                bail!("--snapshot names {table} twice");
            }
        }
        body["snapshots"] = Value::Object(snapshots);
    }
    Ok(body)
}

fn print_table(answer: &Value) {
    let empty = Vec::new();
    let columns = answer["columns"].as_array().unwrap_or(&empty);
    let names: Vec<String> = columns.iter().map(|column| cell(&column["name"])).collect();
    let rows: Vec<Vec<String>> = answer["rows"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|row| row.as_array().unwrap_or(&empty).iter().map(cell).collect())
        .collect();
    let width = |index: usize| rows.iter().chain([&names]).map(|row| row[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(&names);
    line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
    let more = if answer["truncated"] == true { ", more were cut off" } else { "" };
    println!("({} rows{more})", rows.len());
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    }
}
