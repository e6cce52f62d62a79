//! Locations as every engine spells them → one root per bucket and a key in it.

use object_store::path::Path as ObjectPath;
use url::Url;

use super::local::local_path;
use crate::error::{Error, Result};

/// Which kind of store a location is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    File,
    S3,
    Gcs,
    Azure,
}

impl Scheme {
    const ALL: [Scheme; 4] = [Scheme::File, Scheme::S3, Scheme::Gcs, Scheme::Azure];

    /// First segment of the paths of the routed store.
    fn segment(self) -> &'static str {
        match self {
            Scheme::File => "file",
            Scheme::S3 => "s3",
            Scheme::Gcs => "gs",
            Scheme::Azure => "az",
        }
    }

    fn of_url(scheme: &str) -> Option<Scheme> {
        match scheme {
            "file" => Some(Scheme::File),
            "s3" | "s3a" | "s3n" => Some(Scheme::S3),
            "gs" | "gcs" => Some(Scheme::Gcs),
            "az" | "abfs" | "abfss" | "wasb" | "wasbs" => Some(Scheme::Azure),
            _ => None,
        }
    }
}

/// A parsed location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) scheme: Scheme,
    /// Bucket, or `container@account`; empty for files.
    pub(super) bucket: String,
    pub(super) key: ObjectPath,
}

impl Place {
    pub(super) fn of(location: &str) -> Result<Place> {
        let refused = |what: String| Error::Refused(format!("location {location}: {what}"));
        let Some((scheme, rest)) = location.split_once(':') else {
            return Err(refused("it has no scheme such as s3:// or file://".to_owned()));
        };
        let kind = Scheme::of_url(scheme);
        let Some(kind) = kind else {
            return Err(refused(format!("{scheme}:// is not read here; file, s3, gs and abfss are")));
        };
        if kind == Scheme::File {
            let path = Url::from_file_path(local_path(location)?).map_err(|()| refused("not a path".to_owned()))?;
            let key = ObjectPath::from_url_path(path.path()).map_err(|error| refused(error.to_string()))?;
            return Ok(Place { scheme: kind, bucket: String::new(), key });
        }
        // Keys of buckets are taken as they are written: engines put percent signs into them.
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(refused("it names no bucket".to_owned()));
        }
        let key = ObjectPath::parse(key.trim_end_matches('/')).map_err(|error| refused(error.to_string()))?;
        Ok(Place { scheme: kind, bucket: bucket_name(kind, bucket), key })
    }

    pub(super) fn is_local(&self) -> bool {
        self.scheme == Scheme::File
    }

    /// The path in the routed store: scheme, bucket, key.
    pub(super) fn path(&self) -> Result<ObjectPath> {
        let (scheme, key) = (self.scheme.segment(), self.key.as_ref());
        let text = match (self.is_local(), key.is_empty()) {
            (true, _) => format!("{scheme}/{key}"),
            (false, true) => format!("{scheme}/{}", self.bucket),
            (false, false) => format!("{scheme}/{}/{key}", self.bucket),
        };
        ObjectPath::parse(&text).map_err(|error| Error::Refused(format!("path {text}: {error}")))
    }

    /// The reverse of [`Place::path`].
    pub(super) fn of_path(path: &ObjectPath) -> Option<Place> {
        let (segment, rest) = path.as_ref().split_once('/')?;
        let scheme = Scheme::ALL.into_iter().find(|scheme| scheme.segment() == segment)?;
        if scheme == Scheme::File {
            return Some(Place { scheme, bucket: String::new(), key: ObjectPath::parse(rest).ok()? });
        }
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Place { scheme, bucket: bucket.to_owned(), key: ObjectPath::parse(key).ok()? })
    }

    /// What stands before the key in the routed store.
    pub(super) fn root(&self) -> String {
        match self.is_local() {
            true => self.scheme.segment().to_owned(),
            false => format!("{}/{}", self.scheme.segment(), self.bucket),
        }
    }
}

/// `container@account.dfs.core.windows.net` → `container@account`.
fn bucket_name(scheme: Scheme, bucket: &str) -> String {
    match (scheme, bucket.split_once('@')) {
        (Scheme::Azure, Some((container, host))) => {
            format!("{container}@{}", host.split('.').next().unwrap_or(host))
        }
        _ => bucket.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_become_paths_and_back() {
        for (location, path) in [
            ("file:///srv/a b/x.parquet", "file/srv/a b/x.parquet"),
            ("file:/srv/x.avro", "file/srv/x.avro"),
            (
                "s3://lake/t/data/timestamp_day=2026-11-20/f.parquet",
                "s3/lake/t/data/timestamp_day=2026-11-20/f.parquet",
            ),
            ("s3a://lake/t/k%3Dv/f.parquet", "s3/lake/t/k%3Dv/f.parquet"),
            ("gs://lake/t/", "gs/lake/t"),
            ("abfss://box@account.dfs.core.windows.net/t/f", "az/box@account/t/f"),
            ("az://box/t", "az/box/t"),
            ("s3://lake", "s3/lake"),
        ] {
            let place = Place::of(location).unwrap_or_else(|error| panic!("{location}: {error}"));
            let made = place.path().expect("a path");
            assert_eq!(made.as_ref(), ObjectPath::parse(path).expect("valid").as_ref(), "{location}");
            assert_eq!(Place::of_path(&made).as_ref(), Some(&place), "{location}");
        }
        for location in ["/srv/x", "ftp://host/x", "s3:///x", "s3://lake//a//b", "file://host/x"] {
            assert!(Place::of(location).is_err(), "{location}");
        }
    }
}
