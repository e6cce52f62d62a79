//! One `ObjectStore` over all places. A refusal of credentials is met once with newer ones.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::cloud::{Clouds, Opened};
use super::place::Place;
use crate::telemetry;

#[derive(Clone, Debug)]
pub(super) struct RoutedStore {
    local: Arc<dyn ObjectStore>,
    clouds: Arc<Clouds>,
}

/// Where a path leads.
struct Route {
    is_cloud: bool,
    opened: Opened,
    key: ObjectPath,
    root: String,
}

impl RoutedStore {
    pub(super) fn new(local: Arc<dyn ObjectStore>, clouds: Clouds) -> RoutedStore {
        RoutedStore { local, clouds: Arc::new(clouds) }
    }

    pub(super) fn clouds(&self) -> &Clouds {
        &self.clouds
    }

    fn route(&self, path: &ObjectPath) -> Result<Route> {
        let generic = |what: String| Error::Generic { store: "tables", source: what.into() };
        let place = Place::of_path(path).ok_or_else(|| generic(format!("{path} names no store")))?;
        let opened = if place.is_local() {
            Opened { store: Arc::clone(&self.local), scope: None }
        } else {
            self.clouds.open(&place).map_err(|error| generic(crate::error::chain(&error)))?
        };
        Ok(Route { is_cloud: !place.is_local(), opened, root: place.root(), key: place.key })
    }
}

impl Route {
    /// Runs a request; if the store refuses vended credentials, once more with newer ones.
    async fn run<T, F>(&self, request: impl Fn(Arc<dyn ObjectStore>, ObjectPath) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let seen = self.opened.scope.as_ref().map(|scope| scope.generation());
        let answer = request(Arc::clone(&self.opened.store), self.key.clone()).await;
        match (&answer, &self.opened.scope, seen) {
            (Err(Error::PermissionDenied { .. } | Error::Unauthenticated { .. }), Some(scope), Some(seen)) => {
                scope.renew(seen).await?;
                request(Arc::clone(&self.opened.store), self.key.clone()).await
            }
            _ => answer,
        }
    }

    /// Requests to buckets cost money.
    fn count(&self, kind: &'static str, up: u64, down: u64) {
        if self.is_cloud {
            let of = if self.key.as_ref().contains("/metadata/") { "metadata" } else { "data" };
            telemetry::store_request(kind, of, up, down);
        }
    }

    fn outside(&self, mut meta: ObjectMeta) -> ObjectMeta {
        meta.location = outside(&self.root, &meta.location);
        meta
    }
}

fn outside(root: &str, key: &ObjectPath) -> ObjectPath {
    ObjectPath::parse(format!("{root}/{key}")).unwrap_or_else(|_| key.clone())
}

impl fmt::Display for RoutedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tables")
    }
}

#[async_trait]
impl ObjectStore for RoutedStore {
    async fn put_opts(&self, path: &ObjectPath, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let route = self.route(path)?;
        route.count("put", payload.content_length() as u64, 0);
        route
            .run(|store, key| {
                let (payload, options) = (payload.clone(), options.clone());
                async move { store.put_opts(&key, payload, options).await }
            })
            .await
    }

    async fn put_multipart_opts(
        &self,
        path: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let route = self.route(path)?;
        route.count("put", 0, 0);
        route
            .run(|store, key| {
                let options = options.clone();
                async move { store.put_multipart_opts(&key, options).await }
            })
            .await
    }

    async fn get_opts(&self, path: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        let route = self.route(path)?;
        let options_head = options.head;
        let got = route.run(|store, key| {
            let options = options.clone();
            async move { store.get_opts(&key, options).await }
        });
        let mut got = got.await?;
        let kind = if options_head { "head" } else { "get" };
        route.count(kind, 0, if options_head { 0 } else { got.range.end - got.range.start });
        got.meta = route.outside(got.meta);
        Ok(got)
    }

    async fn get_ranges(&self, path: &ObjectPath, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let route = self.route(path)?;
        route.count("get", 0, ranges.iter().map(|range| range.end - range.start).sum());
        route
            .run(|store, key| {
                let ranges = ranges.to_vec();
                async move { store.get_ranges(&key, &ranges).await }
            })
            .await
    }

    // Sweeps delete some files of some folders; one request each is soon enough.
    fn delete_stream(&self, paths: BoxStream<'static, Result<ObjectPath>>) -> BoxStream<'static, Result<ObjectPath>> {
        let this = self.clone();
        let deleted = paths.and_then(move |path| {
            let this = this.clone();
            async move {
                let route = this.route(&path)?;
                route.count("delete", 0, 0);
                route.run(|store, key| async move { store.delete(&key).await }).await?;
                Ok(path)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        let Some(prefix) = prefix else {
            return stream::once(async { Err(needs_prefix()) }).boxed();
        };
        match self.route(prefix) {
            Err(error) => stream::once(async { Err(error) }).boxed(),
            Ok(route) => {
                route.count("list", 0, 0);
                let listed = route.opened.store.list(Some(&route.key));
                listed.map_ok(move |meta| route.outside(meta)).boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        let route = self.route(prefix.ok_or_else(needs_prefix)?)?;
        let listed = route.run(|store, key| async move { store.list_with_delimiter(Some(&key)).await }).await?;
        Ok(ListResult {
            common_prefixes: listed.common_prefixes.iter().map(|key| outside(&route.root, key)).collect(),
            objects: listed.objects.into_iter().map(|meta| route.outside(meta)).collect(),
        })
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        let (source, target) = (self.route(from)?, self.route(to)?);
        if source.root != target.root {
            let what = format!("{from} and {to} are in different stores");
            return Err(Error::NotSupported { source: what.into() });
        }
        source.count("copy", 0, 0);
        source.opened.store.copy_opts(&source.key, &target.key, options).await
    }
}

fn needs_prefix() -> Error {
    Error::NotSupported { source: "a listing of all stores".into() }
}
