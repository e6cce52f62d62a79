//! The server as a process with a data folder that outlives it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::backend::Remote;
use super::http::{self, Answer};
use super::{ADMIN, PATIENCE, wait_for};

/// How a server is started; the environment holds nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
    wrapper: Vec<OsString>,
    remote: Option<Remote>,
    /// Storage of the server's own tables, as clients are told of it.
    storage: Option<serde_json::Value>,
}

impl Options {
    /// Commits only when the server stops, unless [`Options::interval`] says otherwise.
    pub(crate) fn new() -> Self {
        Options::default().interval("1h")
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Commit interval of both slots, as `300ms` or `1h`.
    pub(crate) fn interval(self, interval: &str) -> Self {
        self.set("HOGFLARE_COMMIT_INTERVAL", interval).set("HOGFLARE_LATE_COMMIT_INTERVAL", interval)
    }

    /// Lets the secret [`ADMIN`] write through `/iceberg`.
    pub(crate) fn admin(self) -> Self {
        self.set("HOGFLARE_ADMIN_TOKENS", &format!("outside:{ADMIN}"))
    }

    /// Makes steps long enough to be met: `frame:5,seal:80,pending:80,post:80` (milliseconds).
    pub(crate) fn stall(self, steps: &str) -> Self {
        self.set("HOGFLARE_TEST_STALL", steps)
    }

    /// Notes where the rows go, for clients that read them there.
    pub(crate) fn remote(mut self, remote: Remote) -> Self {
        self.remote = Some(remote);
        self
    }

    pub(crate) fn storage(mut self, storage: serde_json::Value) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Starts the server under another program, which must keep it as its own process (`strace -D`).
    pub(crate) fn under(mut self, wrapper: impl IntoIterator<Item = OsString>) -> Self {
        self.wrapper = wrapper.into_iter().collect();
        self
    }

    pub(crate) fn start(self) -> Server {
        Server::start(self)
    }

    /// Starts on `data` in a folder that is there.
    pub(crate) fn start_in(self, home: TempDir) -> Server {
        let mut server = Server { options: self, home, running: None };
        server.restart();
        server
    }
}

/// A running (or stopped) server. Dropping it kills the process and removes the folder.
#[derive(Debug)]
pub(crate) struct Server {
    options: Options,
    home: TempDir,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    url: String,
    read_token: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(options: Options) -> Self {
        let home = TempDir::with_prefix("hogflare-outside-").expect("cannot make a temporary folder");
        let mut server = Server { options, home, running: None };
        server.restart();
        server
    }

    /// Does not wait until queries are answered.
    pub(crate) fn start_unready(options: Options) -> Self {
        let home = TempDir::with_prefix("hogflare-outside-").expect("cannot make a temporary folder");
        let mut server = Server { options, home, running: None };
        server.launch();
        server
    }

    /// Starts a stopped or killed server again on its folder, at a new address.
    pub(crate) fn restart(&mut self) {
        self.restart_with(self.options.clone());
    }

    pub(crate) fn restart_with(&mut self, options: Options) {
        self.options = options;
        self.launch();
        self.wait_ready();
    }

    fn launch(&mut self) {
        assert!(self.running.is_none(), "the server still runs");
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cannot start the server");
        let (found, address) = channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        follow(child.stdout.take().expect("stdout"), Arc::clone(&log), found.clone());
        follow(child.stderr.take().expect("stderr"), Arc::clone(&log), found);
        let url = match wait_for_address(&address) {
            Some(url) => url,
            None => {
                child.kill().ok();
                let status = child.wait();
                panic!("the server printed no address ({status:?}):\n{}", log.lock().unwrap().join("\n"));
            }
        };
        let read_token = std::fs::read_to_string(self.data_dir().join("read-token"))
            .expect("the server writes read-token before it listens")
            .trim()
            .to_owned();
        self.running = Some(Running { child, url, read_token, log });
    }

    /// Ingest and query both answer.
    fn wait_ready(&self) {
        wait_for("/readyz", || (self.get("/readyz", &[]).status == 200).then_some(()));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let binary = binary();
        let mut command = match self.options.wrapper.split_first() {
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command
            .env_clear()
            .env("HOME", self.home.path())
            .envs(self.options.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(&self.options.arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary with these arguments, in the environment of this server.
    pub(crate) fn hogflare(&self, arguments: &[&str]) -> Output {
        self.hogflare_with(&self.options, arguments)
    }

    /// The same, in the environment of other options.
    pub(crate) fn hogflare_with(&self, options: &Options, arguments: &[&str]) -> Output {
        Command::new(binary())
            .env_clear()
            .env("HOME", self.home.path())
            .envs(options.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .args(arguments)
            .output()
            .expect("cannot start hogflare")
    }

    /// What `hogflare config` prints with the settings of this server.
    pub(crate) fn config(&self) -> String {
        let folder = self.data_dir().display().to_string();
        let options = self.options.arguments.iter().map(String::as_str);
        let arguments: Vec<&str> = ["config", "--data-dir", &folder].into_iter().chain(options).collect();
        let output = self.hogflare(&arguments);
        assert!(output.status.success(), "hogflare config: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a subcommand that asks this server, with the token in the data folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .env_clear()
            .env("HOME", self.home.path())
            .env("HOGFLARE_URL", self.url())
            .env("HOGFLARE_DATA_DIR", self.data_dir())
            .current_dir(self.home.path())
            .args(arguments)
            .output()
            .expect("cannot start hogflare")
    }

    /// Fails unless an acknowledgement waits for the disk.
    pub(crate) fn assert_durability_is_fsync(&self) {
        let config = self.config();
        let line = config.lines().find(|line| line.contains("durability"));
        assert!(line.is_some_and(|line| line.contains("fsync")), "hogflare config says {line:?}:\n{config}");
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A folder beside the data folder, removed with the server.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server is stopped")
    }

    pub(crate) fn url(&self) -> &str {
        &self.running().url
    }

    /// `127.0.0.1:<port>`.
    pub(crate) fn address(&self) -> &str {
        self.url().trim_start_matches("http://")
    }

    /// Where the rows go, if not to the server's own catalog.
    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.options.remote.as_ref()
    }

    pub(crate) fn storage(&self) -> Option<&serde_json::Value> {
        self.options.storage.as_ref()
    }

    pub(crate) fn iceberg_url(&self) -> String {
        format!("{}/iceberg", self.url())
    }

    pub(crate) fn read_token(&self) -> &str {
        &self.running().read_token
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.running().child.id()
    }

    pub(crate) fn log(&self) -> String {
        self.running().log.lock().unwrap().join("\n")
    }

    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        http::send("GET", &format!("{}{path}", self.url()), headers, None).expect("no answer")
    }

    pub(crate) fn get_with_token(&self, path: &str) -> Answer {
        self.get(path, &[("authorization", &format!("Bearer {}", self.read_token()))])
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::send("POST", &format!("{}{path}", self.url()), headers, Some(body)).expect("no answer")
    }

    /// Posts JSON to an SDK route and expects the one good answer.
    pub(crate) fn capture(&self, path: &str, body: &serde_json::Value) {
        let answer = self.post(path, &[("content-type", "application/json")], body.to_string().as_bytes());
        answer.assert_sdk_ok();
    }

    /// The Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let answer = self.get_with_token("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Whether a step that `HOGFLARE_TEST_STALL` names was open when the server was killed, or is open now.
    pub(crate) fn is_open(&self, step: &str) -> bool {
        self.data_dir().join("tmp").join(format!("open-{step}")).try_exists().expect("cannot look")
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("the server is stopped");
        running.child.kill().expect("cannot kill");
        running.child.wait().expect("cannot wait");
    }

    pub(crate) fn signal_terminate(&self) {
        let id = i32::try_from(self.process_id()).expect("process id");
        kill_process(Pid::from_raw(id).expect("process id"), Signal::TERM).expect("cannot signal");
    }

    /// SIGTERM, and waits for the orderly end.
    pub(crate) fn stop(&mut self) {
        self.signal_terminate();
        let status = self.wait_exit();
        assert!(status.success(), "the server ended with {status}");
    }

    /// Waits for the process, which a signal has told to end.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the server is stopped");
        let mut child = running.child;
        let log = Arc::clone(&running.log);
        running.log = Arc::default();
        let status = wait_for("the server's end", || child.try_wait().expect("cannot wait"));
        if !status.success() {
            println!("{}", log.lock().unwrap().join("\n"));
        }
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().ok();
            running.child.wait().ok();
            if std::thread::panicking() {
                println!("--- the server's output\n{}\n---", running.log.lock().unwrap().join("\n"));
            }
        }
    }
}

/// The server's binary stands two folders above the test's own executable (`release/deps/outside-…`).
fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    let folder = own.parent().and_then(Path::parent).expect("target folder");
    let binary = folder.join("hogflare");
    assert!(binary.is_file(), "{} is absent: run cargo xtask test", binary.display());
    binary
}

/// Lines kept of a server's output.
const LOG_LINES_MAX: usize = 2_000;

fn follow(stream: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>, found: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(url) = address_in(&line) {
                found.send(url.to_owned()).ok();
            }
            let mut log = log.lock().unwrap();
            if log.len() < LOG_LINES_MAX {
                log.push(line);
            }
        }
    });
}

/// The address in `listening on http://127.0.0.1:4567`.
fn address_in(line: &str) -> Option<&str> {
    let start = line.find("listening on http://")? + "listening on ".len();
    let rest = &line[start..];
    let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches('/'))
}

/// None if the process closed its output first.
fn wait_for_address(address: &Receiver<String>) -> Option<String> {
    address.recv_timeout(PATIENCE.min(Duration::from_secs(60))).ok()
}
