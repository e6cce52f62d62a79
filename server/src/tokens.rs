//! Who may read and who may change tables.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;

#[derive(Clone)]
pub(crate) struct NamedToken {
    pub(crate) name: String,
    secret: String,
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

    pub(crate) fn new(name: &str, secret: &str) -> NamedToken {
        NamedToken { name: name.to_owned(), secret: secret.to_owned() }
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

    /// Compares with every token in constant time.
    pub(crate) fn grant(&self, secret: &str) -> Option<Grant> {
        let mut found = None;
        for (token, right) in &self.tokens {
            if bool::from(token.secret.as_bytes().ct_eq(secret.as_bytes())) {
                found = Some(Grant { name: token.name.clone(), right: *right });
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
