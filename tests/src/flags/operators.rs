//! Every operator, the values that conditions give it, and the values that people have.

/// Operators, and the values that a condition is tried with: JSON, kept as text so that a client sees the numbers
/// as they stand here.
pub(super) const CONDITIONS: [(&[&str], &str); 7] = [
    (
        &[
            "exact",
            "is_not",
            "icontains",
            "not_icontains",
            "icontains_multi",
            "not_icontains_multi",
            "starts_with",
            "not_starts_with",
            "ends_with",
            "not_ends_with",
        ],
        r#"["pro", "PRO", "", "a.b", "Ärger", "RGE", "null", "[", "[\"pro\"]", "1e+20", 5, "5", 1.5, true, "true",
            "false", false, null, ["pro", "free"], [], ["true"], ["5", "x"]]"#,
    ),
    (&["is_set", "is_not_set"], r#"["is_set", null]"#),
    (
        &["regex", "not_regex"],
        r#"["pro", "^pro$", "", "[0-9]+", "a.b", "(?:x|y)z", "\\d{2,}", "^\\s*$", "P", "o+", "true", "^null$"]"#,
    ),
    (
        &["gt", "gte", "lt", "lte", "min", "max"],
        r#"["5", 5, 5.5, "5.5", "-1", "1e2", "abc", "", true, null, ["5"], " 5", "inf", 0]"#,
    ),
    (&["between", "not_between"], r#"[[1, 10], ["1", "10"], [5, 5], [10, 1], "5", [1], null, ["a", "b"]]"#),
    (
        &[
            "semver_eq",
            "semver_neq",
            "semver_gt",
            "semver_gte",
            "semver_lt",
            "semver_lte",
            "semver_tilde",
            "semver_caret",
            "semver_wildcard",
        ],
        r#"["1.2.3", "v1.2", "1", "0.2.3", "0.0.3", "1.2.3-rc.1", "1.2.3+b", "abc", "", null, 1.5, "3.08", "1.*", "1.2.*",
            "*", "1.*.*", "1.2.3.4", "1.*.3", "1.2.3.*"]"#,
    ),
    (
        &["is_date_exact", "is_date_before", "is_date_after"],
        r#"["2024-01-02", "2024-01-02T03:04:05Z", "2024-01-02 03:04:05", "-30d", "30d", "-3h", "-2w", "-1m", "-1y", "2024",
            "not a date", "-10000d", "2024-01-02T03:04:05+02:00", 1704164645000, true, null, "2024/01/02"]"#,
    ),
];

/// What the property `p` of a person is.
pub(super) const VALUES: &str = r#"["pro", "PRO plan", "free", "", "a.b", "axb", "ärger", "ÄRGER", "true", "True",
    "false", "FALSE", true, false, null, 5, "5", 5.0, 5.5, "5.5", 4, 6, -1, 100, "1e2", "1e400", 1e20, 1e16, 0.00001,
    12345678901234567890123, "abc", "abd", "21abc", " 5", "Infinity", "nan", ["pro"], ["pro", 1], [], [true],
    {"b": 1, "a": "x"}, {}, "xz", "42", " ", "null", "2024-01-02", "2024-01-01", "2024-01-03T00:00:00Z",
    "2024-01-02T03:04:05Z", "2024-01-02T01:04:05Z", "2024-01-02T03:04:06.5", "2024-01-02 03:04:04", "2024/01/02",
    "Jan 5, 2024", "2024", "20240105", "1704164645", 1704164645, 1704164645000, 1704164646000, "not a date",
    "2024-01-02T03:04:05+02:00", "1.2.3", "1.2.4", "1.3.0", "2.0.0", "v1.2.3", "1.2", "1", "0.2.3", "0.2.9", "0.3.0",
    "0.0.3", "0.0.4", "1.2.3-rc.1", "1.2.3+b", "3.08", "3.8.0", "1.2.3.4", "x.y", 1.2, 2, "vv1.2.3", " 1.2.3 "]"#;

/// It is also so many days and half an hour ago: to both sides of what relative dates mean.
pub(super) const DAYS_AGO: [i64; 8] = [0, 1, 13, 15, 29, 32, 364, 367];
