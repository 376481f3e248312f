//! The real server in this process, on a free loopback port: for the demo, for measurements and for tests.

use crate::error::{Error, Result};
use server::Config;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server; stops and drains when told to.
pub struct LocalServer {
    url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl LocalServer {
    /// Starts a server on 127.0.0.1 and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Local`] when it cannot start: no model, or parameters that are refused.
    pub async fn start(config: Config) -> Result<Self> {
        let local = |reason: String| Error::Local { reason };
        let failure = |ended: std::result::Result<Result<()>, tokio::task::JoinError>| match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => local("it ended at once".into()),
            Err(error) => local(error.to_string()),
        };
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(|e| local(e.to_string()))?;
        let address = listener.local_addr().map_err(|e| local(e.to_string()))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = tokio::spawn(async move {
            let shutdown = async {
                // A dropped handle stops the server as well.
                let _ = stopped.await;
            };
            server::serve(config, listener, shutdown)
                .await
                .map_err(|e| Error::Local {
                    reason: format!("{e:#}"),
                })
        });
        let url = format!("http://{address}");
        // The socket is open, so the first request waits until the models are compiled; a failed start ends the task.
        let api = crate::Api::new(&url)?;
        let answered = tokio::select! {
            biased;
            ended = &mut task => return Err(failure(ended)),
            models = api.models() => models,
        };
        if let Err(error) = answered {
            // A start that fails closes the socket first and ends the task a moment later; its reason is the better one.
            let ended = tokio::time::timeout(Duration::from_secs(1), &mut task).await;
            return Err(ended.map_or(error, failure));
        }
        Ok(Self { url, stop, task })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Finishes what is queued and stops.
    ///
    /// # Errors
    /// [`Error::Local`] when the server failed.
    pub async fn stop(self) -> Result<()> {
        // Nobody listens any more if it ended by itself; then the task says why.
        let _ = self.stop.send(());
        self.task.await.map_err(|e| Error::Local {
            reason: e.to_string(),
        })?
    }
}
