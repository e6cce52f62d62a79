//! Lists in pages. A page begins behind the last name of the one before, so that what is created or dropped
//! meanwhile neither repeats nor hides another name.

use super::answer::RestError;
use super::rest::RestRequest;

const SIZE_DEFAULT: usize = 1_000;

/// What a client asked for; without a `pageToken` everything is one page.
#[derive(Debug)]
pub(super) struct Page {
    /// The last name of the page before; empty for the first.
    after: String,
    size: usize,
}

impl Page {
    pub(super) fn of(request: &RestRequest<'_>) -> Result<Option<Page>, RestError> {
        let Some(after) = request.parameter("pageToken") else { return Ok(None) };
        let size = match request.parameter("pageSize").filter(|text| !text.is_empty()) {
            None => SIZE_DEFAULT,
            Some(text) => match text.parse() {
                Ok(size) if size > 0 => size,
                _ => return Err(RestError::bad_request(format!("pageSize {text:?} is not a number above 0"))),
            },
        };
        Ok(Some(Page { after: after.to_owned(), size }))
    }
}

/// The names of the page out of all, which are sorted, and the token of the next page if there is one.
pub(super) fn cut<T>(all: Vec<T>, page: Option<Page>, name: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let Some(page) = page else { return (all, None) };
    let mut rest: Vec<T> = all.into_iter().filter(|item| name(item) > page.after).collect();
    let is_last = rest.len() <= page.size;
    rest.truncate(page.size);
    let next = rest.last().filter(|_| !is_last).map(name);
    (rest, next)
}
