//! How the subcommands that read ask a running server.

use std::path::Path;

use anyhow::{Context, Result};
use ureq::RequestBuilder;

use crate::cli::ReaderArgs;

impl ReaderArgs {
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    pub(crate) fn with_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match self.read_token() {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    /// Status and text of the answer.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String)> {
        let url = self.address(path);
        let request = self.with_token(ureq::get(&url)).config().http_status_as_error(false).build();
        let mut answer = request
            .call()
            .with_context(|| format!("cannot reach {url}; is the server running? --url names another one"))?;
        let status = answer.status().as_u16();
        let text =
            answer.body_mut().with_config().limit(u64::MAX).read_to_string().context("the answer was cut off")?;
        Ok((status, text))
    }

    /// The token that is given, or that of the data folder; the demo's if only that is here.
    fn read_token(&self) -> Option<String> {
        let read = |folder: &Path| std::fs::read_to_string(folder.join("read-token")).ok();
        let own = || [self.data_dir.as_path(), Path::new("./hogflare-demo")].into_iter().find_map(read);
        self.token.clone().or_else(|| own().map(|text| text.trim().to_owned()))
    }
}
