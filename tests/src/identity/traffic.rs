//! Events that make, merge and change persons at random.

use serde_json::{Value, json};
use uuid::Uuid;

use super::event;
use super::record::MARK;

/// Few users, each of whom does much.
pub(super) fn mixed(uuid: Uuid, late: bool) -> Value {
    of_user(rand::random_range(0..120), uuid, late)
}

/// More users with more properties than the least memory for them holds.
pub(super) fn wide(uuid: Uuid, late: bool) -> Value {
    let mut event = of_user(rand::random_range(0..3_000), uuid, late);
    if event["event"] != "$groupidentify" {
        event["properties"]["$set_once"] = json!({"padding": "x".repeat(4_000)});
    }
    event
}

/// One of all that may happen to a user. Users do not meet, so that persons stay small.
fn of_user(user: u32, uuid: Uuid, late: bool) -> Value {
    let name = format!("user-{user}");
    let anonymous = |n: u32| format!("anonymous-{user}-{n}");
    let (one, other) = (rand::random_range(0..3), rand::random_range(0..3));
    let id = if rand::random_bool(0.5) { name.clone() } else { anonymous(one) };
    let mark = format!("{MARK}{uuid}");
    let mut event = match rand::random_range(0..100) {
        0..30 => event("visit", &id, json!({"$groups": {"company": format!("c{}", user % 7)}})),
        30..40 => event("visit", &id, json!({"$process_person_profile": false})),
        40..58 => event("$set", &id, json!({"$set": {mark: 1}})),
        58..64 => event("visit", &id, json!({"$set_once": {"first": uuid}, "$unset": ["last"]})),
        64..78 => event("$identify", &name, json!({"$anon_distinct_id": anonymous(one), "$set": {"last": uuid}})),
        78..86 => event("$create_alias", &name, json!({"alias": anonymous(one)})),
        86..90 => event("$create_alias", &anonymous(one), json!({"alias": anonymous(other)})),
        90..93 => event("$merge_dangerously", &name, json!({"alias": anonymous(one)})),
        _ => {
            let (group_type, key) = (["company", "team"][user as usize % 2], format!("c{}", user % 7));
            let described = json!({"$group_type": group_type, "$group_key": format!("{group_type}-{key}"), "$group_set": {mark: 1}});
            event("$groupidentify", &format!("${group_type}_{key}"), described)
        }
    };
    event["uuid"] = json!(uuid);
    if late {
        event["timestamp"] = json!(format!("2021-0{}-11T10:20:30.400Z", 1 + user % 9));
    }
    event
}
