//! The proxies in front, with the files that docs/deployment offers.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::clients::installed;
use crate::harness::{Server, read_text, wait_for};

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Nginx,
    Caddy,
}

pub(super) const KINDS: [Kind; 2] = [Kind::Nginx, Kind::Caddy];

/// A running proxy; dropping it ends the process.
#[derive(Debug)]
pub(super) struct Front {
    child: Child,
    port: u16,
    url: String,
    _folder: TempDir,
}

impl Front {
    /// Our deployment file with only the addresses exchanged.
    pub(super) fn before(kind: Kind, server: &Server) -> Self {
        let port = free_port();
        let folder = TempDir::with_prefix("hogflare-front-").unwrap();
        let mut command = match kind {
            Kind::Nginx => nginx(folder.path(), port, server),
            Kind::Caddy => caddy(folder.path(), port, server),
        };
        let output = fs::File::create(folder.path().join("output")).unwrap();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().expect("cannot start");
        wait_for("the proxy", || {
            if let Some(status) = child.try_wait().unwrap() {
                let said = fs::read_to_string(folder.path().join("output")).unwrap();
                panic!("{kind:?} ended with {status}: {said}");
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Front { child, port, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The site inside the smallest main file, which keeps everything in the folder.
fn nginx(folder: &Path, port: u16, server: &Server) -> Command {
    let site = exchanged(
        &read_text("docs/deployment/nginx.conf"),
        &[("127.0.0.1:4567", server.address()), ("listen 80;", &format!("listen 127.0.0.1:{port};"))],
    );
    let path = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {path}/{name};\n"))
        .collect();
    let main = format!(
        "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{site}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, main).unwrap();
    let mut command = Command::new(installed("HOGFLARE_TEST_NGINX"));
    command.arg("-p").arg(folder).arg("-e").arg(folder.join("error.log")).arg("-c").arg(file);
    command
}

fn caddy(folder: &Path, port: u16, server: &Server) -> Command {
    let site = exchanged(
        &read_text("docs/deployment/Caddyfile"),
        &[("reverse_proxy 127.0.0.1:4567", &format!("reverse_proxy {}", server.address()))],
    );
    // A plain address, else Caddy would ask for a certificate.
    let address = format!("http://:{port} {{\n\tbind 127.0.0.1\n");
    let site = exchanged(&site, &[("\nevents.example.com {\n", &format!("\n{address}"))]);
    let file = folder.join("Caddyfile");
    fs::write(&file, format!("{{\n\tadmin off\n\tauto_https off\n}}\n{site}")).unwrap();
    let mut command = Command::new(installed("HOGFLARE_TEST_CADDY"));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file).env("HOME", folder);
    command.env("XDG_CONFIG_HOME", folder).env("XDG_DATA_HOME", folder).current_dir(folder);
    command
}

fn exchanged(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "the file must say {from:?} once");
        text.replace(from, to)
    })
}

/// A proxy cannot say which port it took, so we ask the system for one that is free now.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
