//! The tasks of the process, by name, so that the end of it can say what it waits for.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Tasks that end when their stage is told to stop.
#[derive(Debug)]
pub(crate) struct Tasks {
    stage: &'static str,
    stop: watch::Sender<bool>,
    running: Vec<(&'static str, JoinHandle<()>)>,
}

impl Tasks {
    pub(crate) fn new(stage: &'static str) -> Tasks {
        Tasks { stage, stop: watch::Sender::new(false), running: Vec::new() }
    }

    /// Turns true when the stage shall end.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that starts tasks")]
    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.push((name, tokio::spawn(task)));
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
