//! Distinct ids that clients send by mistake. Merging by them would make one person of many people.

const ANY_CASE: [&str; 10] = [
    "anonymous",
    "guest",
    "distinctid",
    "distinct_id",
    "id",
    "not_authenticated",
    "email",
    "undefined",
    "true",
    "false",
];
const EXACT: [&str; 7] = ["[object Object]", "NaN", "None", "none", "null", "0", "undefined"];

/// Whether an id names nobody, also when it stands in quotes.
pub(crate) fn is_illegal(id: &str) -> bool {
    let bare = unquoted(id);
    bare.trim().is_empty() || EXACT.contains(&bare) || ANY_CASE.iter().any(|illegal| illegal.eq_ignore_ascii_case(bare))
}

fn unquoted(id: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(bare) = id.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return bare;
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_name_nobody_are_known() {
        let illegal =
            ["anonymous", "Guest", "UNDEFINED", "null", "0", "NaN", "[object Object]", "\"null\"", "'id'", "''", " "];
        for id in illegal {
            assert!(is_illegal(id), "{id:?}");
        }
        for id in ["user_1", "Null", "nan", "00", "anonymous2", "\"user\"", "a"] {
            assert!(!is_illegal(id), "{id:?}");
        }
    }
}
