//! The server under load: its address, and what the kernel says of its process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::place::{Place, is_file};

#[derive(Debug)]
pub(super) struct Server {
    url: String,
    process: Option<u32>,
    read_token: Option<String>,
    own: Option<Own>,
}

/// A server that we started; it ends with us.
#[derive(Debug)]
struct Own {
    child: Child,
    folder: TempDir,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    pub(super) fn running(url: &str, process: Option<u32>, read_token: Option<String>) -> Self {
        Server { url: url.to_owned(), process, read_token, own: None }
    }

    /// The release binary with default settings, on the disk that holds the target folder.
    pub(super) fn start(place: &Place, settings: &[(String, String)]) -> Result<Self> {
        let binary = place.server_binary();
        ensure!(is_file(&binary), "{} is absent: run cargo build --release", binary.display());
        let folder = TempDir::with_prefix_in("load-", &place.target)?;
        let data = folder.path().join("data");
        let mut child = Command::new(&binary)
            .env_clear()
            .env("HOME", folder.path())
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .current_dir(folder.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (found, address) = channel();
        follow(child.stdout.take().context("stdout")?, found.clone());
        follow(child.stderr.take().context("stderr")?, found);
        let process = Some(child.id());
        let own = Own { child, folder };
        let url = address.recv_timeout(Duration::from_secs(60)).context("the server printed no address")?;
        let read_token = fs::read_to_string(data.join("read-token")).context("read-token")?.trim().to_owned();
        let server = Server { url, process, read_token: Some(read_token), own: Some(own) };
        server.wait_ready()?;
        Ok(server)
    }

    fn wait_ready(&self) -> Result<()> {
        let agent = agent();
        for _ in 0..600 {
            if agent.get(format!("{}/readyz", self.url)).call().is_ok_and(|answer| answer.status() == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        anyhow::bail!("the server is not ready after a minute")
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The first value of the first row; None without a token to read with.
    pub(super) fn sql(&self, sql: &str) -> Result<Option<u64>> {
        let Some(token) = &self.read_token else { return Ok(None) };
        let mut answer = agent()
            .post(format!("{}/api/sql", self.url))
            .header("authorization", format!("Bearer {token}"))
            .send_json(serde_json::json!({"sql": sql}))?;
        let body: serde_json::Value = answer.body_mut().read_json()?;
        ensure!(answer.status() == 200, "{sql}: {body}");
        Ok(body["rows"][0][0].as_u64())
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        Usage::of(self.process?).ok()
    }

    /// Bytes below a folder of the data folder, as `wal`.
    pub(super) fn disk_bytes(&self, folder: &str) -> u64 {
        self.own.as_ref().map_or(0, |own| bytes_below(&own.folder.path().join("data").join(folder)))
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into()
}

fn follow(stream: impl Read + Send + 'static, found: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let url = rest.split_whitespace().next().unwrap_or_default();
                found.send(url.trim_matches('"').trim_end_matches('/').to_owned()).ok();
            }
        }
    });
}

fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Processor time of all threads, user and system.
    pub(super) cpu: Duration,
    pub(super) rss_bytes: u64,
    pub(super) rss_bytes_peak: u64,
}

impl Usage {
    fn of(process: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name in parentheses may hold spaces; what follows it is numbers, from the third field on.
        let fields: Vec<&str> = stat.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let kib = |key: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).context("status")?;
            Ok(line.split_whitespace().next().context("status")?.parse()?)
        };
        Ok(Usage {
            cpu: Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
            rss_bytes: kib("VmRSS:")? * 1024,
            rss_bytes_peak: kib("VmHWM:")? * 1024,
        })
    }
}
