//! The order of system calls: the log's `fdatasync` returns before the answer is written.

use std::collections::HashMap;
use std::ffi::OsString;

use serde_json::json;
use uuid::Uuid;

use crate::harness::clients::installed;
use crate::harness::{Options, PROJECT, skipped, wait_for};

const CALLS: &str = "trace=fdatasync,fsync,read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg";

#[test]
fn the_log_is_synced_before_the_answer() {
    if skipped("clients") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trace_file = folder.path().join("trace");
    // -D keeps the server as our own child, so that it is the one that gets our signals; -yy names files and sockets.
    let mut wrapper: Vec<OsString> = vec![installed("HOGFLARE_TEST_STRACE").into()];
    wrapper.extend(["-D", "-f", "-yy", "-s", "2048", "-e", CALLS, "-o"].map(OsString::from));
    wrapper.push(trace_file.clone().into());
    let mut server = Options::new().under(wrapper).start();
    server.assert_durability_is_fsync();

    let uuids = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()].map(|uuid| uuid.to_string());
    for uuid in &uuids {
        let event = json!({"event": "traced", "distinct_id": "someone", "uuid": uuid, "properties": {}});
        server.capture("/batch/", &json!({"api_key": PROJECT, "batch": [event]}));
    }
    server.stop();
    // The tracer writes on its own; it has written all when it has seen the end of the process.
    let trace = wait_for("the end of the trace", || {
        let trace = std::fs::read_to_string(&trace_file).ok()?;
        trace.contains("+++ exited with 0 +++").then_some(trace)
    });
    let calls = Calls::parse(&trace);
    for uuid in &uuids {
        calls.assert_synced_before_answer(uuid);
    }
}

#[derive(Debug)]
struct Call {
    /// `fdatasync(12</…/wal/0…0.log>` with all arguments.
    text: String,
    succeeded: bool,
    started: usize,
    ended: usize,
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.text.split('(').next().unwrap_or_default())
    }
}

/// System calls in the order of their ends; `started` and `ended` are line numbers of the trace.
#[derive(Debug)]
struct Calls(Vec<Call>);

impl Calls {
    /// Joins `… <unfinished ...>` with `<... name resumed>…` of the same thread.
    fn parse(trace: &str) -> Self {
        let mut open: HashMap<&str, (usize, &str)> = HashMap::new();
        let mut calls = Vec::new();
        for (line_number, line) in trace.lines().enumerate() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
                open.insert(thread, (line_number, begun));
                continue;
            }
            let (started, text) = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
                Some((_, end)) => match open.remove(thread) {
                    Some((started, begun)) => (started, format!("{begun}{end}")),
                    None => continue,
                },
                None => (line_number, rest.to_owned()),
            };
            let succeeded = text.rsplit_once(" = ").is_some_and(|(_, result)| !result.starts_with('-'));
            calls.push(Call { text, succeeded, started, ended: line_number });
        }
        Calls(calls)
    }

    fn assert_synced_before_answer(&self, uuid: &str) {
        let request = self.first("request", |call| {
            call.is(&["read", "readv", "recvfrom", "recvmsg"]) && call.text.contains("TCP:") && call.text.contains(uuid)
        });
        let answer = self.first("answer", |call| {
            call.started > request.ended
                && call.is(&["write", "writev", "sendto", "sendmsg"])
                && call.text.contains("TCP:")
                && call.text.contains("HTTP/1.1 200")
        });
        let synced = self.0.iter().any(|call| {
            call.is(&["fdatasync"])
                && call.text.contains("/wal/")
                && call.succeeded
                && call.started > request.ended
                && call.ended < answer.started
        });
        assert!(synced, "no fdatasync on the log between {} and {}", request.text, answer.text);
        let other = self.0.iter().filter(|call| call.started > request.ended && call.ended < answer.started);
        let written = other.filter(|call| call.text.contains("/wal/") && !call.is(&["fdatasync", "fsync"])).count();
        assert!(written > 0, "nothing was written to the log between {} and {}", request.text, answer.text);
    }

    fn first(&self, what: &str, wanted: impl Fn(&Call) -> bool) -> &Call {
        self.0.iter().find(|call| wanted(call)).unwrap_or_else(|| panic!("the trace shows no {what}"))
    }
}

#[test]
fn an_interrupted_call_is_joined() {
    let calls = Calls::parse(
        "10 fdatasync(5</d/wal/1.log> <unfinished ...>\n11 read(9<TCP:[a]>, \"x\", 1) = 1\n\
         10 <... fdatasync resumed>) = 0\n10 write(9<TCP:[a]>, \"HTTP/1.1 200 OK\", 15) = -1 EPIPE (Broken pipe)\n",
    );
    let shape: Vec<_> = calls.0.iter().map(|call| (call.started, call.ended, call.succeeded)).collect();
    assert_eq!(shape, [(1, 1, true), (0, 2, true), (3, 3, false)]);
    assert_eq!(calls.0[1].text, "fdatasync(5</d/wal/1.log>) = 0");
}
