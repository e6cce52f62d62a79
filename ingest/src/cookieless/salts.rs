//! A random salt for each day, kept for as long as events of that day are expected.
//!
//! `cookieless-salts.json`: `{"format":1,"salts":{"2026-11-20":"<64 hexadecimal digits>"}}`, readable by
//! the owner alone, replaced by rename.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{Days, NaiveDate};
use hogflare_catalog::objects::sync_folder;
use parking_lot::RwLock;
use rand::RngCore;
use serde_json::{Map, Value, json};

use super::Salt;
use crate::timestamp;

const FORMAT: u64 = 1;
const FILE_NAME: &str = "cookieless-salts.json";
/// Days before today whose salts are kept. A browser sends at once and tries again for some hours; a day
/// more covers what waits in a closed laptop overnight. Days are those of UTC, so time zones need none.
const DAYS_BEHIND: i64 = 2;
/// Tomorrow's is drawn today: events from clocks that are fast need it, and midnight needs no one awake.
const DAYS_AHEAD: i64 = 1;

#[derive(Debug, thiserror::Error)]
pub enum SaltsError {
    #[error("cannot {doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot make a salt's deletion durable")]
    Sync(#[source] hogflare_catalog::Error),
    #[error(
        "{path} is damaged ({reason}); delete it to draw new salts: visitors without cookies of the last days then \
         count a second time"
    )]
    Damaged { path: PathBuf, reason: &'static str },
    #[error("{path} has format {found}, this release knows {FORMAT}; start the release that wrote it, or a later one")]
    Later { path: PathBuf, found: u64 },
}

/// The salts that are kept. The default keeps them in memory alone, for as long as it lives.
#[derive(Default)]
pub struct Salts {
    file: Option<PathBuf>,
    kept: RwLock<Kept>,
}

#[derive(Clone, Default)]
struct Kept {
    /// By day since 1970, UTC, without gaps.
    by_day: BTreeMap<i64, Salt>,
    /// Whether the file holds just these.
    is_stored: bool,
    /// Used while there are none, which is only so where nobody rotates.
    of_process: Option<Salt>,
}

impl Salts {
    /// Reads the salts in a data folder, or draws new ones, and stores them. `now_us` is in microseconds
    /// since 1970, as everywhere here.
    ///
    /// # Errors
    /// The file cannot be read or written, or is damaged.
    pub fn open(folder: &Path, now_us: i64) -> Result<Salts, SaltsError> {
        let file = folder.join(FILE_NAME);
        // A crash may have left salts in it.
        remove_unfinished(&unfinished(&file))?;
        let by_day = read(&file)?;
        let kept = Kept { by_day, is_stored: true, of_process: None };
        let salts = Salts { file: Some(file), kept: RwLock::new(kept) };
        salts.rotate(now_us)?;
        Ok(salts)
    }

    /// Draws the salts that are missing and deletes those of days that are over, from memory at once.
    /// To be called at least daily, better each minute: it does nothing while the day is the same.
    ///
    /// # Errors
    /// The file could not be replaced; the next call tries again.
    pub fn rotate(&self, now_us: i64) -> Result<(), SaltsError> {
        let today = timestamp::day(now_us);
        let days = today - DAYS_BEHIND..=today + DAYS_AHEAD;
        let is_current = |kept: &Kept| kept.is_stored && kept.by_day.keys().copied().eq(days.clone());
        if is_current(&self.kept.read()) {
            return Ok(());
        }
        let by_day = {
            let mut kept = self.kept.write();
            kept.by_day.retain(|day, _| days.contains(day));
            for day in days {
                kept.by_day.entry(day).or_insert_with(draw);
            }
            kept.is_stored = self.file.is_none();
            kept.by_day.clone()
        };
        if let Some(file) = &self.file {
            write(file, &by_day)?;
            self.kept.write().is_stored = true;
        }
        Ok(())
    }

    /// The salt of a day since 1970, UTC; of a day that is not kept, that of the nearest.
    pub fn salt(&self, day: i64) -> Salt {
        let kept = self.kept.read();
        let bounds = kept.by_day.first_key_value().zip(kept.by_day.last_key_value());
        if let Some(((first, _), (last, _))) = bounds
            && let Some(salt) = kept.by_day.get(&day.clamp(*first, *last))
        {
            return *salt;
        }
        drop(kept);
        *self.kept.write().of_process.get_or_insert_with(draw)
    }
}

impl std::fmt::Debug for Salts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Salts").field("file", &self.file).finish_non_exhaustive()
    }
}

fn draw() -> Salt {
    let mut salt = [0; 32];
    rand::rng().fill_bytes(&mut salt);
    Salt(salt)
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SaltsError {
    let path = path.to_owned();
    move |source| SaltsError::Io { doing, path, source }
}

fn unfinished(file: &Path) -> PathBuf {
    file.with_extension("tmp")
}

fn remove_unfinished(path: &Path) -> Result<(), SaltsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn read(file: &Path) -> Result<BTreeMap<i64, Salt>, SaltsError> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(io("read", file)(error)),
    };
    let damaged = |reason| SaltsError::Damaged { path: file.to_owned(), reason };
    let value: Value = serde_json::from_str(&text).map_err(|_| damaged("it is not JSON"))?;
    match value["format"].as_u64() {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => return Err(SaltsError::Later { path: file.to_owned(), found }),
        _ => return Err(damaged("it states no format")),
    }
    let salts = value["salts"].as_object().ok_or_else(|| damaged("it has no salts"))?;
    let parsed = salts.iter().map(|(day, salt)| Some((parse_day(day)?, parse_salt(salt.as_str()?)?)));
    parsed.collect::<Option<_>>().ok_or_else(|| damaged("a line is no day with a salt"))
}

fn write(file: &Path, by_day: &BTreeMap<i64, Salt>) -> Result<(), SaltsError> {
    let salts: Map<String, Value> = by_day
        .iter()
        .map(|(day, salt)| {
            let hex: String = salt.0.iter().map(|byte| format!("{byte:02x}")).collect();
            (format_day(*day), Value::String(hex))
        })
        .collect();
    let text = json!({ "format": FORMAT, "salts": salts }).to_string();
    let unfinished = unfinished(file);
    let mut open = OpenOptions::new();
    let opened = open.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let mut out: File = opened.map_err(io("create", &unfinished))?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(io("write", &unfinished))?;
    fs::rename(&unfinished, file).map_err(io("replace", file))?;
    sync_folder(file.parent().unwrap_or(Path::new("/"))).map_err(SaltsError::Sync)
}

fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date")
}

fn format_day(day: i64) -> String {
    let days = Days::new(day.unsigned_abs());
    let date = if day < 0 { first_day().checked_sub_days(days) } else { first_day().checked_add_days(days) };
    date.expect("a clock shows a year that calendars know").to_string()
}

fn parse_day(text: &str) -> Option<i64> {
    let date: NaiveDate = text.parse().ok()?;
    Some(date.signed_duration_since(first_day()).num_days())
}

fn parse_salt(hex: &str) -> Option<Salt> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let bytes: Vec<u8> = digits?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    (hex.len() == 64).then_some(())?;
    Some(Salt(bytes.try_into().ok()?))
}
