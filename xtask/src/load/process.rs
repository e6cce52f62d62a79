//! The server under load: its address, and what the kernel says of its process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::place::is_file;

/// A graceful end brings everything into the tables and the state file.
const STOP_MAX: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Server {
    url: String,
    process: Option<u32>,
    read_token: Option<String>,
    own: Option<Own>,
}

/// How to start a server.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) binary: PathBuf,
    /// Environment.
    pub(super) settings: Vec<(String, String)>,
    /// Kept afterwards; without it there is a temporary one beside the target folder's files.
    pub(super) folder: Option<PathBuf>,
    pub(super) temporary_in: PathBuf,
}

/// A server that we started; it ends with us.
#[derive(Debug)]
struct Own {
    child: Child,
    folder: Folder,
    listening_after: Duration,
}

#[derive(Debug)]
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Folder::Temporary(folder) => folder.path(),
            Folder::Kept(path) => path,
        }
    }
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

    /// With default settings but those given.
    pub(super) fn start(launch: &Launch) -> Result<Self> {
        let binary = &launch.binary;
        ensure!(is_file(binary), "{} is absent: run cargo build --release", binary.display());
        let folder = match &launch.folder {
            Some(path) => {
                fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
                Folder::Kept(path.canonicalize()?)
            }
            None => Folder::Temporary(TempDir::with_prefix_in("load-", &launch.temporary_in)?),
        };
        let data = folder.path().join("data");
        let started = Instant::now();
        let mut child = Command::new(binary)
            .env_clear()
            .env("HOME", folder.path())
            .envs(launch.settings.iter().map(|(name, value)| (name, value)))
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
        let mut own = Own { child, folder, listening_after: Duration::ZERO };
        let url = address.recv_timeout(Duration::from_secs(60)).context("the server printed no address")?;
        own.listening_after = started.elapsed();
        let read_token = fs::read_to_string(data.join("read-token")).context("read-token")?.trim().to_owned();
        let server = Server { url, process, read_token: Some(read_token), own: Some(own) };
        server.wait_ready()?;
        Ok(server)
    }

    /// Ends a server of ours as an operator does. One that was running before us goes on.
    pub(super) fn stop(mut self) -> Result<()> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let process = Pid::from_child(&own.child);
        kill_process(process, Signal::TERM).context("cannot stop the server")?;
        let deadline = Instant::now() + STOP_MAX;
        while own.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "the server did not end within {STOP_MAX:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// From the start of the process to its address.
    pub(super) fn listening_after(&self) -> Option<Duration> {
        self.own.as_ref().map(|own| own.listening_after)
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

    /// Bytes of the state file with what stands beside it.
    pub(super) fn state_bytes(&self) -> u64 {
        let Some(own) = &self.own else { return 0 };
        let file = |suffix: &str| own.folder.path().join(format!("data/state.sqlite{suffix}"));
        ["", "-wal"].into_iter().filter_map(|suffix| Some(file(suffix).metadata().ok()?.len())).sum()
    }

    /// The answer of a route, as JSON.
    pub(super) fn post_json(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        let mut answer = agent().post(format!("{}{path}", self.url)).send_json(body)?;
        let answered = answer.body_mut().read_json()?;
        ensure!(answer.status() == 200, "{path}: {answered}");
        Ok(answered)
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
