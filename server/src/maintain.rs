//! The subcommand `maintain`: what a person asks of a running server.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cli::{MaintainArgs, Maintenance};
use crate::config;
use crate::tokens;

pub(crate) fn run(args: &MaintainArgs) -> Result<()> {
    match &args.what {
        Maintenance::Pause { table, wait } => {
            let seconds = config::duration(wait).context("--for")?.as_secs();
            let answer = post(args, "pause", &json!({"table": table, "for_seconds": seconds}))?;
            let until = answer["paused_until"].as_str().unwrap_or_default();
            println!("commits to {table} stand still until {until}; events are taken and can be queried as before");
        }
        Maintenance::Resume { table } => {
            post(args, "resume", &json!({"table": table}))?;
            println!("commits to {table} go on");
        }
    }
    Ok(())
}

fn post(args: &MaintainArgs, what: &str, body: &Value) -> Result<Value> {
    let Some(token) = admin_token(args)? else {
        bail!(
            "an admin token is needed: give its secret with --token, or set HOGFLARE_ADMIN_TOKENS as the server has it"
        );
    };
    let url = format!("{}/api/maintain/{what}", args.url.trim_end_matches('/'));
    let request = ureq::post(&url).config().http_status_as_error(false).build();
    let mut response = request
        .header("authorization", &format!("Bearer {token}"))
        .send_json(body)
        .with_context(|| format!("cannot reach {url}; is the server running? --url names another one"))?;
    let failed = response.status().as_u16() != 200;
    let text = response.body_mut().read_to_string().context("the answer was cut off")?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    if failed {
        bail!("{}", answer["error"]["message"].as_str().unwrap_or(&text));
    }
    Ok(answer)
}

/// The one given, or the first that the server of this environment has.
fn admin_token(args: &MaintainArgs) -> Result<Option<String>> {
    if let Some(token) = &args.token {
        return Ok(Some(token.clone()));
    }
    let tokens = tokens::parse_admin(&args.admin_tokens).context("HOGFLARE_ADMIN_TOKENS")?;
    Ok(tokens.first().map(|token| token.secret().to_owned()))
}
