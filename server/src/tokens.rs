//! Who may read and who may change tables.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hogflare_ingest::ProjectToken;
use hogflare_query::Scope;
use parking_lot::Mutex;
use subtle::ConstantTimeEq;

#[derive(Clone)]
pub(crate) struct NamedToken {
    pub(crate) name: String,
    secret: String,
    pub(crate) projects: Scope,
}

impl std::fmt::Debug for NamedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NamedToken({})", self.name)
    }
}

impl NamedToken {
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// For all projects.
    pub(crate) fn new(name: &str, secret: &str) -> NamedToken {
        NamedToken { name: name.to_owned(), secret: secret.to_owned(), projects: Scope::All }
    }

    /// The name, and the projects if they are not all.
    pub(crate) fn describe(&self) -> String {
        match &self.projects {
            Scope::All => self.name.clone(),
            Scope::Only(projects) => format!("{} (only {})", self.name, projects.join(", ")),
        }
    }

    /// `name:secret[:project,…]`
    fn parse(entry: &str) -> Result<NamedToken> {
        let (name, rest) = entry.split_once(':').context("an entry is not name:secret[:project,…]")?;
        let (secret, projects) = rest.split_once(':').map_or((rest, None), |(secret, rest)| (secret, Some(rest)));
        let (name, secret) = (name.trim(), secret.trim());
        if secret.len() < SECRET_BYTES_MIN {
            bail!("{name}: the secret is shorter than {SECRET_BYTES_MIN} characters");
        }
        let mut token = NamedToken::new(name, secret);
        if let Some(projects) = projects {
            let project = |token: &str| match ProjectToken::parse(token) {
                Ok(token) => Ok(token.as_str().to_owned()),
                Err(reason) => bail!("{name}: {token:?} is no project token: {reason}"),
            };
            token.projects = Scope::Only(projects.split(',').map(project).collect::<Result<_>>()?);
        }
        Ok(token)
    }
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    Read,
    Admin,
}

#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) name: String,
    pub(crate) right: Right,
    pub(crate) projects: Scope,
}

const SECRET_BYTES_MIN: usize = 8;

/// Entries separated by `;` or newline.
fn parse(text: &str) -> Result<Vec<NamedToken>> {
    let entries = text.split([';', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(NamedToken::parse).collect()
}

/// `name:secret[:project,…]` entries.
pub(crate) fn parse_read(text: &str) -> Result<Vec<NamedToken>> {
    parse(text)
}

/// `name:secret` entries: what administrators do is done to whole tables.
pub(crate) fn parse_admin(text: &str) -> Result<Vec<NamedToken>> {
    let tokens = parse(text)?;
    match tokens.iter().find(|token| !token.projects.is_all()) {
        Some(token) => bail!("{}: an admin token is for all projects; leave the projects out", token.name),
        None => Ok(tokens),
    }
}

/// A secret with two meanings would have the wider one.
pub(crate) fn check_secrets(tokens: &[&NamedToken]) -> Result<()> {
    for (index, token) in tokens.iter().enumerate() {
        let twin =
            tokens[..index].iter().find(|other| other.secret == token.secret && other.projects != token.projects);
        if let Some(twin) = twin {
            bail!("the tokens {} and {} have one secret, but not the same projects", twin.name, token.name);
        }
    }
    Ok(())
}

/// The tokens of this process, and how often each address failed lately.
#[derive(Debug)]
pub(crate) struct Tokens {
    tokens: Vec<(NamedToken, Right)>,
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

const FAILURES_MAX: u32 = 100;
const FAILURES_WINDOW: Duration = Duration::from_secs(60);
const ADDRESSES_MAX: usize = 10_000;

impl Tokens {
    pub(crate) fn new(read: &[NamedToken], admin: &[NamedToken]) -> Tokens {
        let read = read.iter().cloned().map(|token| (token, Right::Read));
        let admin = admin.iter().cloned().map(|token| (token, Right::Admin));
        Tokens { tokens: read.chain(admin).collect(), failures: Mutex::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Compares with every token in constant time.
    pub(crate) fn grant(&self, secret: &str) -> Option<Grant> {
        let mut found = None;
        for (token, right) in &self.tokens {
            if bool::from(token.secret.as_bytes().ct_eq(secret.as_bytes())) {
                found = Some(Grant { name: token.name.clone(), right: *right, projects: token.projects.clone() });
            }
        }
        found
    }

    /// Whether an address failed too often to be listened to.
    pub(crate) fn is_blocked(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return false };
        let failures = self.failures.lock();
        failures.get(&address).is_some_and(|(count, since)| *count >= FAILURES_MAX && since.elapsed() < FAILURES_WINDOW)
    }

    pub(crate) fn note_failure(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let mut failures = self.failures.lock();
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_, (_, since)| since.elapsed() < FAILURES_WINDOW);
        }
        let (count, since) = failures.entry(address).or_insert((0, Instant::now()));
        if since.elapsed() >= FAILURES_WINDOW {
            (*count, *since) = (0, Instant::now());
        }
        *count += 1;
    }
}

/// The token in `<data-dir>/read-token`, drawn at the first start and readable by the owner only.
pub(crate) fn own_read_token(data_dir: &Path) -> Result<NamedToken> {
    let path = data_dir.join("read-token");
    if let Ok(text) = std::fs::read_to_string(&path) {
        let secret = text.trim();
        anyhow::ensure!(
            secret.len() >= 16,
            "{} is too short to be a token; delete it to get a new one",
            path.display()
        );
        return Ok(NamedToken::new("read-token", secret));
    }
    let mut random = [0_u8; 24];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut random);
    let secret = format!("hfr_{}", random.map(|byte| format!("{byte:02x}")).concat());
    write_private(&path, &secret).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(NamedToken::new("read-token", &secret))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_a_name_a_secret_and_perhaps_projects() {
        for (text, expected) in [
            ("", vec![]),
            ("bi:12345678; ops:abcdefgh\n", vec!["bi", "ops"]),
            ("bi:12345678:phc_a", vec!["bi (only phc_a)"]),
            (" bi : 12345678 : phc_a , phc_b \n ops:abcdefgh", vec!["bi (only phc_a, phc_b)", "ops"]),
        ] {
            let tokens = parse_read(text).unwrap();
            assert_eq!(tokens.iter().map(NamedToken::describe).collect::<Vec<_>>(), expected, "{text:?}");
            assert!(tokens.iter().all(|token| token.secret.len() == 8), "{text:?}");
        }
        for (text, words) in [
            ("nothing", "name:secret"),
            ("bi:short", "bi: the secret is shorter than 8"),
            ("bi:short:phc_a", "bi: the secret is shorter than 8"),
            ("bi:12345678:", "is no project token: it is empty"),
            ("bi:12345678:phc_a,", "is no project token: it is empty"),
            ("bi:12345678:phx_a", "personal key"),
            ("bi:12345678:a:b", "\"a:b\" is no project token: it has a colon"),
        ] {
            let error = parse_read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        assert_eq!(parse_admin("ops:abcdefgh").unwrap().len(), 1);
        let error = parse_admin("ops:abcdefgh:phc_a").unwrap_err().to_string();
        assert!(error.contains("ops: an admin token is for all projects"), "{error}");
    }

    #[test]
    fn one_secret_has_one_meaning() {
        for (text, fits) in [
            ("a:12345678; b:12345678", true),
            ("a:12345678:x; b:12345678:x", true),
            ("a:12345678:x; b:12345678", false),
            ("a:12345678; b:12345678:x", false),
            ("a:12345678:x; b:12345678:y", false),
        ] {
            let tokens = parse_read(text).unwrap();
            assert_eq!(check_secrets(&tokens.iter().collect::<Vec<_>>()).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn a_grant_has_the_projects_of_its_token() {
        let read = parse_read("all:12345678;one:abcdefgh:phc_a").unwrap();
        let tokens = Tokens::new(&read, &parse_admin("ops:ABCDEFGH").unwrap());
        let only = |project: &str| Scope::Only([project.to_owned()].into());
        for (secret, expected) in [
            ("12345678", Some((Right::Read, Scope::All))),
            ("abcdefgh", Some((Right::Read, only("phc_a")))),
            ("ABCDEFGH", Some((Right::Admin, Scope::All))),
            ("abcdefg", None),
            ("", None),
        ] {
            let grant = tokens.grant(secret).map(|grant| (grant.right, grant.projects));
            assert_eq!(grant, expected, "{secret}");
        }
    }
}
