//! Real clients as processes that take one JSON line and answer with one.
//!
//! A client ends when its input closes, also when the test binary ends.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::server::Server;
use super::sql::Rows;
use super::{ADMIN, workspace};

/// A program or folder that `cargo xtask test` has installed.
pub(crate) fn installed(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{variable} is not set: run cargo xtask test"))
}

/// A client of `tests/clients` in its own process.
#[derive(Debug)]
pub(crate) struct Client {
    name: String,
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn python(script: &str) -> Self {
        Client::spawn(script, Command::new(installed("HOGFLARE_TEST_PYTHON")).arg("-u"))
    }

    pub(crate) fn node(script: &str) -> Self {
        let modules = installed("HOGFLARE_TEST_NODE_MODULES");
        let node = installed("HOGFLARE_TEST_NODE");
        Client::spawn(script, Command::new(node).env("HOGFLARE_TEST_NODE_MODULES", modules))
    }

    /// A compiled client.
    pub(crate) fn program(path: &Path) -> Self {
        Client::start(&path.display().to_string(), &mut Command::new(path))
    }

    fn spawn(script: &str, command: &mut Command) -> Self {
        let path = workspace().join("tests/clients").join(script);
        assert!(path.is_file(), "{} is absent", path.display());
        Client::start(script, command.arg(path))
    }

    fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let input = child.stdin.take().map(BufWriter::new);
        let output = BufReader::new(child.stdout.take().expect("stdout"));
        Client { name: name.to_owned(), child, input, output }
    }

    /// Sends a request; [`Client::answer`] waits for what comes back.
    pub(crate) fn send(&mut self, request: &Value) {
        let input = self.input.as_mut().expect("open");
        writeln!(input, "{request}")
            .and_then(|()| input.flush())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    pub(crate) fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).expect("cannot read");
        assert!(read > 0, "{} ended without an answer", self.name);
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }

    pub(crate) fn try_ask(&mut self, request: &Value) -> Result<Value, String> {
        self.send(request);
        self.answer()
    }

    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.try_ask(request).unwrap_or_else(|error| panic!("{} at {request}: {error}", self.name))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

static PYICEBERG: LazyLock<Mutex<Client>> = LazyLock::new(|| Mutex::new(Client::python("pyiceberg_client.py")));
static DUCKDB: LazyLock<Mutex<Client>> = LazyLock::new(|| Mutex::new(Client::python("duckdb_client.py")));

static CLICKHOUSE: LazyLock<Mutex<Client>> = LazyLock::new(|| Mutex::new(Client::python("clickhouse_client.py")));

fn shared(client: &'static LazyLock<Mutex<Client>>) -> MutexGuard<'static, Client> {
    client.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one long-lived PyIceberg process: imports cost more than a read.
pub(crate) fn pyiceberg(server: &Server, mut request: Value) -> Value {
    connect(server, &mut request);
    shared(&PYICEBERG).ask(&request)
}

/// Rows of a table of ours through PyIceberg. `filter` is null or as `pyiceberg_client.py` says.
pub(crate) fn pyiceberg_rows(server: &Server, table: &str, columns: &[&str], filter: Value) -> Rows {
    let request = json!({"op": "rows", "table": table, "columns": columns, "filter": filter});
    Rows::from_json(&pyiceberg(server, request))
}

/// Statements in a fresh DuckDB connection with the server attached as `lake`; the rows of each.
pub(crate) fn duckdb(server: &Server, token: &str, statements: &[String]) -> Result<Vec<Rows>, String> {
    ask_duckdb(server, token, json!({"statements": statements}))
}

/// The same, with statements that a second connection runs before the last one.
pub(crate) fn duckdb_with(
    server: &Server,
    token: &str,
    statements: &[&str],
    meanwhile: &[&str],
) -> Result<Vec<Rows>, String> {
    ask_duckdb(server, token, json!({"statements": statements, "meanwhile": meanwhile}))
}

fn ask_duckdb(server: &Server, token: &str, mut request: Value) -> Result<Vec<Rows>, String> {
    connect(server, &mut request);
    if server.remote().is_none() {
        request["token"] = json!(token);
    }
    let answer = shared(&DUCKDB).try_ask(&request)?;
    Ok(answer.as_array().expect("a list").iter().map(Rows::from_json).collect())
}

/// Statements in a fresh ClickHouse session with the tables attached as `lake`; the rows of each.
pub(crate) fn clickhouse(server: &Server, statements: &[String]) -> Result<Vec<Vec<Value>>, String> {
    let mut request = json!({"statements": statements});
    connect(server, &mut request);
    if server.remote().is_none() {
        request["token"] = json!(ADMIN);
    }
    let answer = shared(&CLICKHOUSE).try_ask(&request)?;
    let rows = |answer: &Value| answer["rows"].as_array().expect("rows").clone();
    Ok(answer.as_array().expect("a list").iter().map(rows).collect())
}

fn connect(server: &Server, request: &mut Value) {
    match server.remote() {
        Some(remote) => remote.tell(request),
        None => {
            request["uri"] = json!(server.iceberg_url());
            request["token"] = json!(server.read_token());
            if let Some(storage) = server.storage() {
                request["s3"] = storage.clone();
            }
        }
    }
}
