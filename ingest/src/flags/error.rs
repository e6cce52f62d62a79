//! Why a file of flags or a request for them was refused.

/// Why a file of flags was refused. The caller keeps the one it had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagsError {
    #[error("feature flags are not JSON: {message}")]
    Syntax {
        /// Of the text, from 1.
        line: usize,
        /// Of the line, from 1.
        column: usize,
        /// Names line and column, too.
        message: String,
    },
    #[error("{place}: {problem}")]
    Invalid { place: String, problem: String },
}

impl FlagsError {
    pub(super) fn syntax(error: &serde_json::Error) -> FlagsError {
        FlagsError::Syntax { line: error.line(), column: error.column(), message: error.to_string() }
    }
}

/// Why the body of a flags request was refused: a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("failed to parse request: {0}")]
    Syntax(String),
    #[error("failed to parse request: not a JSON object")]
    NotAnObject,
}
