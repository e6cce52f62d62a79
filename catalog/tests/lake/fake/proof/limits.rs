//! Limits per window, as R2 has them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::{Budget, FakeLake, FakeSettings, ShiftedClock};
use super::{NAMESPACES, Sender, TABLE, TABLES, creation, set_property};

#[tokio::test]
async fn more_writes_than_a_window_takes_are_refused_until_it_passes() {
    let clock = Arc::new(ShiftedClock::default());
    let fake = FakeLake::start(FakeSettings { retry_after_s: 7, clock: Arc::clone(&clock) as _, ..Default::default() });
    let sender = Sender::new(&fake);
    sender.create_events(&fake).await;
    for _ in 0..20 {
        assert_eq!(sender.hear("POST", TABLE, set_property("a", "1")).await, "200");
    }
    for _ in 0..5 {
        let refused = sender.send("POST", TABLE, set_property("a", "2")).await.unwrap();
        assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (429, &b"7"[..]));
    }
    assert_eq!(fake.table("default", "events").properties()["a"], "1");
    assert_eq!(sender.hear("GET", TABLE, "").await, "200");
    assert_eq!(fake.busiest()[&Budget::Commits("default.events".to_owned())], 25);

    clock.advance(Duration::from_secs(61));
    assert_eq!(sender.hear("POST", TABLE, set_property("a", "3")).await, "200");
    assert_eq!(fake.busiest()[&Budget::Commits("default.events".to_owned())], 25);

    // All tables share the budgets of creations and of writes.
    for table in 0..10 {
        assert_eq!(sender.hear("POST", TABLES, creation(&format!("t{table}")).to_string()).await, "200");
    }
    let many = "429 TooManyRequestsException";
    assert_eq!(sender.hear("POST", TABLES, creation("t10").to_string()).await, many);
    for write in 0..108 {
        let table = format!("{TABLES}/t{}", write % 10);
        assert_eq!(sender.hear("POST", &table, set_property("a", "1")).await, "200", "write {write}");
    }
    assert_eq!(sender.hear("POST", TABLE, set_property("a", "4")).await, "200");
    assert_eq!(sender.hear("POST", TABLE, set_property("a", "5")).await, many);
    assert_eq!(sender.hear("POST", NAMESPACES, json!({"namespace": ["other"]}).to_string()).await, many);
    assert_eq!(fake.busiest()[&Budget::Creates], 11);
    // One after the window passed, 11 creations, 108 commits, and the three last ones.
    assert_eq!(fake.busiest()[&Budget::Writes], 1 + 11 + 108 + 3);
}
