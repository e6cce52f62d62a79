//! Where a server's rows go, if not to its own catalog and disk: other servers on this machine.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::clients::installed;
use super::http;
use super::{ADMIN, Options, Server, wait_for};

const KEY: &str = "testkey";
const SECRET: &str = "testsecret";
const REGION: &str = "us-east-1";
/// Of SeaweedFS: one bucket for files of ours, one that its own catalog keeps tables in.
const BUCKET: &str = "lake";
const TABLES: &str = "warehouse";

/// SeaweedFS: an S3 server and an Iceberg REST catalog of independent origin, in one process.
#[derive(Debug)]
pub(crate) struct SeaweedFs {
    child: Child,
    s3: String,
    catalog: String,
    _folder: TempDir,
}

/// A catalog with the storage of its files, as clients are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    uri: String,
    warehouse: String,
    namespace: String,
    login: Login,
    s3: String,
    bucket: String,
}

#[derive(Clone, Debug)]
enum Login {
    Token(String),
    Client(String),
}

impl SeaweedFs {
    pub(crate) fn start() -> Arc<SeaweedFs> {
        let folder = TempDir::with_prefix("hogflare-seaweed-").expect("cannot make a temporary folder");
        let ports: Vec<u16> = free_ports(6);
        let weed = installed("HOGFLARE_TEST_PYTHON").with_file_name("weed");
        // Nothing drops a static, so the shell ends the server when our end of its input is gone.
        let mut command = Command::new("sh");
        command.arg("-c").arg("\"$@\" & server=$!; cat > /dev/null; kill $server; wait $server").arg("sh").arg(weed);
        command.arg("mini").arg(format!("-dir={}", folder.path().display())).args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-webdav=false",
            "-admin.ui=false",
            "-s3.port.lance=0",
            &format!("-bucket={BUCKET}"),
            &format!("-tableBucket={TABLES}"),
        ]);
        let flags = ["master.port", "filer.port", "volume.port", "s3.port", "s3.port.iceberg", "admin.port"];
        for (flag, port) in flags.iter().zip(&ports) {
            command.arg(format!("-{flag}={port}"));
        }
        let log = std::fs::File::create(folder.path().join("weed.log")).expect("a log");
        let child = command
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("cannot start SeaweedFS");
        let address = |port: u16| format!("http://127.0.0.1:{port}");
        let seaweed = SeaweedFs { child, s3: address(ports[3]), catalog: address(ports[4]), _folder: folder };
        wait_for("SeaweedFS", || seaweed.is_ready().then_some(()));
        Arc::new(seaweed)
    }

    /// Its catalog gives tokens and knows the bucket of tables, which it makes last.
    fn is_ready(&self) -> bool {
        let form = format!("grant_type=client_credentials&client_id={KEY}&client_secret={SECRET}&scope=catalog");
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let tokens = format!("{}/v1/oauth/tokens", self.catalog);
        let Ok(answer) = http::send("POST", &tokens, &headers, Some(form.as_bytes())) else { return false };
        if answer.status != 200 {
            return false;
        }
        let bearer = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap_or_default());
        let namespaces = format!("{}/v1/{TABLES}/namespaces", self.catalog);
        let listed = http::send("GET", &namespaces, &[("authorization", &bearer)], None);
        let bucket = http::send("GET", &format!("{}/{BUCKET}", self.s3), &[], None);
        // Without a signature the other bucket is refused, but it is there.
        listed.is_ok_and(|answer| answer.status == 200) && bucket.is_ok_and(|answer| answer.status == 403)
    }

    /// Its own catalog.
    pub(crate) fn catalog(&self, namespace: &str) -> Remote {
        Remote {
            uri: self.catalog.clone(),
            warehouse: TABLES.to_owned(),
            namespace: namespace.to_owned(),
            login: Login::Client(format!("{KEY}:{SECRET}")),
            s3: self.s3.clone(),
            bucket: TABLES.to_owned(),
        }
    }

    /// A server of ours whose embedded catalog keeps its files here, and that catalog over HTTP.
    pub(crate) fn under_our_catalog(&self) -> (Server, Remote) {
        let owner = self.files_of(Options::new().admin(), "shared").start();
        let remote = Remote {
            uri: owner.iceberg_url(),
            warehouse: "hogflare".to_owned(),
            namespace: "shop".to_owned(),
            login: Login::Token(ADMIN.to_owned()),
            s3: self.s3.clone(),
            bucket: BUCKET.to_owned(),
        };
        (owner, remote)
    }

    /// Lets the embedded catalog of a server keep its files here.
    pub(crate) fn files_of(&self, options: Options, folder: &str) -> Options {
        with_keys(options, &self.s3)
            .set("HOGFLARE_WAREHOUSE", &format!("s3://{BUCKET}/{folder}"))
            .storage(storage(&self.s3, BUCKET))
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

impl Remote {
    /// Lets a server write here.
    pub(crate) fn options(&self, options: Options) -> Options {
        let options = with_keys(options, &self.s3)
            .set("HOGFLARE_CATALOG_URI", &self.uri)
            .set("HOGFLARE_WAREHOUSE", &self.warehouse)
            .set("HOGFLARE_NAMESPACE", &self.namespace);
        let options = match &self.login {
            Login::Token(token) => options.set("HOGFLARE_CATALOG_TOKEN", token),
            Login::Client(credential) => options.set("HOGFLARE_CATALOG_CREDENTIAL", credential),
        };
        options.remote(self.clone())
    }

    /// Tells a client where the tables are.
    pub(crate) fn tell(&self, request: &mut Value) {
        request["uri"] = json!(self.uri);
        request["warehouse"] = json!(self.warehouse);
        request["namespace"] = json!(self.namespace);
        request["s3"] = storage(&self.s3, &self.bucket);
        match &self.login {
            Login::Token(token) => request["token"] = json!(token),
            Login::Client(credential) => request["credential"] = json!(credential),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }
}

fn storage(endpoint: &str, bucket: &str) -> Value {
    json!({"endpoint": endpoint, "key": KEY, "secret": SECRET, "region": REGION, "bucket": bucket})
}

fn with_keys(options: Options, endpoint: &str) -> Options {
    options
        .set("HOGFLARE_S3_ENDPOINT", endpoint)
        .set("HOGFLARE_S3_REGION", REGION)
        .set("HOGFLARE_S3_ACCESS_KEY_ID", KEY)
        .set("HOGFLARE_S3_SECRET_ACCESS_KEY", SECRET)
}

/// SeaweedFS serves gRPC at each port plus 10 000.
fn free_ports(count: usize) -> Vec<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut ports = Vec::new();
    while ports.len() < count {
        let port = rand::random_range(11_000..22_000);
        if !ports.contains(&port) && is_free(port) && is_free(port + 10_000) {
            ports.push(port);
        }
    }
    ports
}

/// Path of the folder in which `data` of a stopped server stands, for copies.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("cannot create a folder");
    for entry in std::fs::read_dir(from).expect("cannot list").flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("cannot look").is_dir() {
            true => copy_folder(&entry.path(), &target),
            // A file may go while the server that owns it runs.
            false => _ = std::fs::copy(entry.path(), &target),
        }
    }
}
