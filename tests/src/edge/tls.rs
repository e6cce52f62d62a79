//! A catalog behind a certificate that no system trusts: refused in words, taken with `--ca-file`.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::front::free_port;
use crate::harness::clients::installed;
use crate::harness::{ADMIN, Options, skipped, wait_for};

struct Proxy {
    child: Child,
    url: String,
    folder: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// nginx with a certificate of its own before a server.
fn proxy(target: &str) -> Proxy {
    let folder = TempDir::with_prefix("hogflare-tls-").expect("a folder");
    certificate(folder.path());
    let (port, path) = (free_port(), folder.path().display().to_string());
    let main = format!(
        "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;\n\
         uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;\n\
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem;\n\
         location / {{ proxy_pass {target}; }} }} }}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), main).expect("nginx.conf");
    let child = Command::new(installed("HOGFLARE_TEST_NGINX"))
        .arg("-c")
        .arg(folder.path().join("nginx.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cannot start nginx");
    wait_for("nginx", || TcpStream::connect(("127.0.0.1", port)).ok());
    Proxy { child, url: format!("https://127.0.0.1:{port}/iceberg"), folder }
}

fn certificate(folder: &Path) {
    let made = Command::new(installed("HOGFLARE_TEST_OPENSSL"))
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=catalog", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("cannot start openssl").success(), "no certificate");
}

#[test]
fn a_private_certificate_is_trusted_only_when_named() {
    if skipped("clients") {
        return;
    }
    let catalog = Options::new().admin().start();
    let proxy = proxy(catalog.url());
    let check = |more: &[&str]| {
        let arguments = ["catalog", "check", "--namespace", "lab", "--catalog-uri", &proxy.url, "--token", ADMIN];
        let output = catalog.hogflare(&[&arguments, more].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (passed, said) = check(&[]);
    assert!(!passed && said.contains("--ca-file"), "{said}");
    let file = proxy.folder.path().join("cert.pem").display().to_string();
    let (passed, said) = check(&["--ca-file", &file]);
    assert!(passed, "{said}");
}
