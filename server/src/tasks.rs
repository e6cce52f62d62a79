//! The tasks of the process, by name, so that the end of it can say what it waits for.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Tasks that ended by a panic, for `/readyz`: what they did is not done any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures(Arc<Mutex<Vec<&'static str>>>);

impl Failures {
    pub(crate) fn reason(&self) -> Option<String> {
        let failed = self.0.lock();
        let names = failed.join(", ");
        (!failed.is_empty()).then(|| format!("failed and does not run any more: {names}; restart the server"))
    }

    fn note(&self, task: &'static str) {
        tracing::error!(task, "a task failed; acknowledged events are in the log, restart the server");
        self.0.lock().push(task);
    }
}

/// Tasks that end when their stage is told to stop.
#[derive(Debug)]
pub(crate) struct Tasks {
    stage: &'static str,
    stop: watch::Sender<bool>,
    running: Vec<(&'static str, JoinHandle<()>)>,
    failures: Failures,
}

impl Tasks {
    pub(crate) fn new(stage: &'static str, failures: &Failures) -> Tasks {
        Tasks { stage, stop: watch::Sender::new(false), running: Vec::new(), failures: failures.clone() }
    }

    /// Turns true when the stage shall end.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that starts tasks")]
    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let failures = self.failures.clone();
        let watched = async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                failures.note(name);
            }
        };
        self.running.push((name, tokio::spawn(watched)));
    }

    /// Tells every task to stop and waits for them, at most `limit`.
    pub(crate) async fn stop(mut self, limit: Duration) {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + limit;
        for (name, task) in &mut self.running {
            match tokio::time::timeout_at(deadline, &mut *task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(stage = self.stage, task = name, %error, "a task failed"),
                Err(_) => {
                    tracing::warn!(stage = self.stage, task = name, "did not end in time");
                    task.abort();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_named() {
        let failures = Failures::default();
        let mut tasks = Tasks::new("test", &failures);
        tasks.spawn("steady", std::future::ready(()));
        tasks.spawn("committer", async { panic!("at the disco") });
        tasks.stop(Duration::from_secs(10)).await;
        let reason = failures.reason().expect("one failed");
        assert!(reason.contains("committer") && !reason.contains("steady"), "{reason}");
    }
}
