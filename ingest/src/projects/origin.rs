//! Sites, as browsers name them in the header `Origin` (RFC 6454, section 6).

use std::fmt;

/// Scheme, host and port, in small letters; without a port that is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    /// Host and port. In a list it may begin with `*.`, for all hosts below one.
    authority: String,
}

impl Origin {
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub(super) fn parse(text: &str) -> Result<Origin, String> {
        let problem = || format!("{text:?} is no origin; write for example https://app.example.com");
        let (scheme, authority) = text.split_once("://").ok_or_else(problem)?;
        let scheme = scheme.to_ascii_lowercase();
        let in_scheme = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
        let in_authority = |char: char| char.is_ascii_graphic() && !"/?#@\\,*".contains(char);
        if scheme.is_empty() || !scheme.chars().all(in_scheme) {
            return Err(problem());
        }
        if authority.is_empty() || !authority.chars().all(in_authority) {
            return Err(problem());
        }
        let own_port = match scheme.as_str() {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let authority = authority.to_ascii_lowercase();
        let authority = authority.strip_suffix(own_port).unwrap_or(&authority).to_owned();
        Ok(Origin { scheme, authority })
    }

    /// An entry of a list: an origin, or `https://*.example.com` for all hosts below `example.com`.
    pub(super) fn pattern(text: &str) -> Result<Origin, String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        match text.split_once("://*.") {
            Some((scheme, below)) => {
                let mut origin = Origin::parse(&format!("{scheme}://{below}"))?;
                origin.authority.insert_str(0, "*.");
                Ok(origin)
            }
            None => Origin::parse(text),
        }
    }

    /// Whether an origin is this one, or one of those that this one stands for.
    pub(super) fn covers(&self, origin: &Origin) -> bool {
        let is_host = match self.authority.strip_prefix('*') {
            Some(below) => origin.authority.len() > below.len() && origin.authority.ends_with(below),
            None => origin.authority == self.authority,
        };
        is_host && origin.scheme == self.scheme
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_site_covers_its_pages_alone() {
        for (listed, origin, expected) in [
            ("https://app.example.com", "https://app.example.com", true),
            ("https://app.example.com/", "https://app.example.com", true),
            ("https://App.Example.com", "https://app.EXAMPLE.com", true),
            ("https://app.example.com:443", "https://app.example.com", true),
            ("http://app.example.com", "http://app.example.com:80", true),
            ("http://localhost:3000", "http://localhost:3000", true),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("http://[::1]:8080", "http://[::1]:8080", true),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("https://app.example.com", "http://app.example.com", false),
            ("https://app.example.com", "https://app.example.com:8443", false),
            ("https://app.example.com", "https://app.example.com.evil.test", false),
            ("https://app.example.com", "https://evil.test/https://app.example.com", false),
            ("https://app.example.com", "null", false),
            ("https://app.example.com", "", false),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://a.example.com.evil.test", false),
            ("https://*.example.com", "https://*.example.com", false),
        ] {
            let listed = Origin::pattern(listed).unwrap();
            let covers = Origin::parse(origin).is_ok_and(|origin| listed.covers(&origin));
            assert_eq!(covers, expected, "{listed} {origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "*",
            "app.example.com",
            "https://",
            "https:///",
            "://app",
            "https://app.example.com/path",
            "https://user@app.example.com",
            "https://a b",
            "https://a,b",
            "https://*",
            "https://*.",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "ht tps://a",
        ] {
            let problem = Origin::pattern(text).unwrap_err();
            assert!(problem.contains("https://app.example.com"), "{text}: {problem}");
        }
    }
}
