//! Signed requests, with signatures made by OpenSSL as the README shows.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::clients::installed;
use crate::harness::{Options, PROJECT, Server, http, read_text, skipped};

const SECRET: &str = "a secret of the tests";

fn body() -> Vec<u8> {
    json!({"api_key": PROJECT, "event": "signed", "distinct_id": "d", "properties": {"price": "5 €"}})
        .to_string()
        .into_bytes()
}

/// `openssl dgst -<digest> -hmac <secret>` over the bytes, as hex.
fn signature(digest: &str, bytes: &[u8]) -> String {
    let mut child = Command::new(installed("HOGFLARE_TEST_OPENSSL"))
        .args(["dgst", &format!("-{digest}"), "-hmac", SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cannot start openssl");
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.rsplit(' ').next().unwrap().trim().to_owned()
}

fn server() -> Server {
    Options::new().set("POSTHOG_SIGNING_SECRET", SECRET).start()
}

fn send(server: &Server, path: &str, signed: Option<(&str, &str)>, body: &[u8]) -> http::Answer {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(signed);
    server.post(path, &headers, body)
}

#[test]
fn a_signature_over_the_raw_body_is_asked_for() {
    if skipped("clients") {
        return;
    }
    let server = server();
    let body = body();
    let sha256 = format!("sha256={}", signature("sha256", &body));
    let sha1 = format!("sha1={}", signature("sha1", &body));
    for path in ["/capture", "/e/", "/i/v0/e/", "/batch/", "/track", "/engage"] {
        send(&server, path, None, &body).assert_sdk_error(401);
    }
    send(&server, "/capture", Some(("x-posthog-signature", &sha256)), &body).assert_sdk_ok();
    send(&server, "/capture", Some(("x-hub-signature", &sha1)), &body).assert_sdk_ok();
    for index in [0, body.len() / 2, body.len() - 1] {
        let mut changed = body.clone();
        changed[index] ^= 1;
        send(&server, "/capture", Some(("x-posthog-signature", &sha256)), &changed).assert_sdk_error(401);
        send(&server, "/capture", Some(("x-hub-signature", &sha1)), &changed).assert_sdk_error(401);
    }
    let flipped = sha256.replace(['0', '1'], "2");
    if flipped != sha256 {
        send(&server, "/capture", Some(("x-posthog-signature", &flipped)), &body).assert_sdk_error(401);
    }
    assert_eq!(server.count("hogflare_events"), 2);
}

#[test]
fn the_signature_covers_the_compressed_bytes() {
    if skipped("clients") {
        return;
    }
    let server = server();
    let compressed = http::gzip(&body());
    let right = format!("sha256={}", signature("sha256", &compressed));
    let of_the_text = format!("sha256={}", signature("sha256", &body()));
    send(&server, "/e/", Some(("x-posthog-signature", &of_the_text)), &compressed).assert_sdk_error(401);
    send(&server, "/e/", Some(("x-posthog-signature", &right)), &compressed).assert_sdk_ok();
    assert_eq!(server.count("hogflare_events"), 1);
}

#[test]
fn the_pixel_does_not_bypass_the_signature() {
    let server = server();
    let answer = server.get("/e/?data=eyJldmVudCI6ImEiLCJkaXN0aW5jdF9pZCI6ImIiLCJhcGlfa2V5IjoicGhjX3Rlc3QifQ==", &[]);
    answer.assert_sdk_error(401);
    assert_eq!(server.count("hogflare_events"), 0);
}

/// Runs the README's own lines, with nothing exchanged but the address.
#[test]
fn the_readmes_signing_command_works() {
    if skipped("clients") {
        return;
    }
    let server = server();
    let readme = read_text("README.md");
    let script = readme
        .split("```")
        .skip(1)
        .step_by(2)
        .find(|block| block.contains("openssl dgst -sha256 -hmac"))
        .expect("README.md shows how to sign with openssl dgst -sha256 -hmac");
    let script = script.split_once('\n').expect("a block of lines").1;
    assert!(script.contains("http://127.0.0.1:4567"), "the block names the default address:\n{script}");
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script.replace("http://127.0.0.1:4567", server.url())])
        .env("POSTHOG_SIGNING_SECRET", SECRET)
        .current_dir(server.home())
        .output()
        .expect("cannot start bash");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(r#"{"status":"Ok"}"#), "{script}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(server.count("hogflare_events") >= 1);
}
