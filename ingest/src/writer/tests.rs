use std::sync::Arc;
use hogflare_catalog::{Views, WriterId};
pub(crate) fn test_views() -> Arc<Views> {
    Arc::new(Views::new(WriterId::new(uuid::Uuid::from_u128(7))))
}
