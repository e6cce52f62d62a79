use super::*;

fn code(sql: &str) -> ErrorCode {
    parse(sql).map(|_| ()).expect_err(sql).code
}

#[test]
fn forms_that_only_read_pass() {
    for sql in [
        "SELECT 1",
        "select 1;",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "VALUES (1), (2)",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN VERBOSE SELECT 1",
        "SHOW TABLES",
        "SHOW COLUMNS FROM events",
        "DESCRIBE events",
        "-- a comment\nSELECT ';' -- and another; one",
    ] {
        parse(sql).map_err(|error| format!("{sql}: {error}")).unwrap();
    }
}

#[test]
fn forms_that_write_are_refused_by_name() {
    for (sql, name) in [
        ("INSERT INTO events VALUES (1)", "INSERT"),
        ("UPDATE events SET event = 'x'", "UPDATE"),
        ("DELETE FROM events", "DELETE"),
        ("MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE", "MERGE"),
        ("TRUNCATE TABLE events", "TRUNCATE"),
        ("CREATE TABLE x AS SELECT 1", "CREATE TABLE"),
        ("CREATE VIEW x AS SELECT 1", "CREATE VIEW"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "CREATE EXTERNAL TABLE"),
        ("CREATE FUNCTION f() RETURNS int AS 'x'", "CREATE FUNCTION"),
        ("CREATE SCHEMA x", "CREATE SCHEMA"),
        ("DROP TABLE events", "DROP TABLE"),
        ("ALTER TABLE events ADD COLUMN x int", "ALTER TABLE"),
        ("COPY (SELECT 1) TO 'x.csv'", "COPY"),
        ("COPY events TO 'x.parquet' STORED AS PARQUET", "COPY"),
        ("SET datafusion.execution.batch_size = 1", "SET"),
        ("RESET datafusion.execution.batch_size", "RESET"),
        ("SHOW ALL", "SHOW"),
        ("SHOW datafusion.execution.batch_size", "SHOW"),
        ("PREPARE p AS SELECT 1", "PREPARE"),
        ("EXECUTE p(1)", "EXECUTE"),
        ("DEALLOCATE p", "DEALLOCATE"),
        ("EXPLAIN INSERT INTO events VALUES (1)", "INSERT"),
        ("EXPLAIN CREATE TABLE x AS SELECT 1", "CREATE TABLE"),
        ("EXPLAIN COPY events TO 'x.csv'", "COPY"),
        ("EXPLAIN ANALYZE DELETE FROM events", "DELETE"),
        ("WITH x AS (INSERT INTO events VALUES (1) RETURNING 1) SELECT * FROM x", "INSERT"),
        ("WITH x AS (SELECT 1) DELETE FROM events", "DELETE"),
        ("BEGIN", "BEGIN"),
        ("COMMIT", "COMMIT"),
        ("GRANT SELECT ON events TO x", "GRANT"),
        ("CALL f()", "CALL"),
        ("VACUUM", "VACUUM"),
        ("ANALYZE TABLE events", "ANALYZE"),
        ("USE x", "USE"),
        ("KILL 1", "KILL"),
    ] {
        let error = parse(sql).map(|_| ()).expect_err(sql);
        // What the parser itself does not know does not run either.
        if error.code != ErrorCode::SyntaxError {
            assert_eq!(error.code, ErrorCode::ReadOnly, "{sql}: {error}");
            assert!(error.message.starts_with(name), "{sql}: {error}");
        }
    }
    for sql in ["INSERT INTO events VALUES (1)", "COPY (SELECT 1) TO 'x.csv'", "SET a = 1", "DROP TABLE events"] {
        assert_eq!(code(sql), ErrorCode::ReadOnly, "{sql}");
    }
}

#[test]
fn one_statement_at_a_time() {
    assert_eq!(code("SELECT 1; SELECT 2"), ErrorCode::SyntaxError);
    assert_eq!(code("SELECT 1; DROP TABLE events"), ErrorCode::SyntaxError);
    assert_eq!(code(""), ErrorCode::SyntaxError);
    assert_eq!(code(" ; "), ErrorCode::SyntaxError);
}

#[test]
fn syntax_errors_have_a_position() {
    let error = parse("SELECT 1\nFROM x WHERE )").unwrap_err();
    assert_eq!((error.code, error.position.map(|at| at.line)), (ErrorCode::SyntaxError, Some(2)));
    assert!(!error.message.contains("Line:"), "{error}");
    let error = parse("SELECT 'open").unwrap_err();
    assert!(error.position.is_some(), "{error}");
}

#[test]
fn ordinary_sql_is_not_too_deep() {
    let many = |text: &str, count: usize| text.repeat(count);
    for sql in [
        format!("SELECT {}1{}", many("(", 60), many(")", 60)),
        format!("SELECT {}1{}", many("abs(", 14), many(")", 14)),
        format!("SELECT {}1{}", many("(SELECT ", 8), many(")", 8)),
        format!("SELECT 1 IN (1{})", many(",2", 100_000)),
        format!("SELECT 1{}", many(" OR event = 'x'", 400)),
        format!("SELECT {}1", many("coalesce(lower(event), 'x') AS a, ", 2_000)),
        format!("SELECT * FROM {}x{}", many("(SELECT * FROM ", 30), many(") y", 30)),
    ] {
        parse(&sql).map_err(|error| format!("{}…: {error}", &sql[..40])).unwrap();
    }
}

#[test]
fn deep_and_long_sql_is_refused_without_a_crash() {
    let many = |text: &str, count: usize| text.repeat(count);
    for sql in [
        format!("SELECT {}1{}", many("(", 100_000), many(")", 100_000)),
        format!("SELECT {}1", many("(", 300_000)),
        format!("SELECT 1{}", many("+1", 100_000)),
        format!("SELECT {}1", many("- ", 100_000)),
        format!("SELECT {}TRUE", many("NOT ", 100_000)),
        format!("SELECT 1{}", many("::int", 50_000)),
        format!("SELECT 1{}", many(" UNION ALL SELECT 1", 20_000)),
        format!("SELECT {}1{}", many("CASE WHEN 1=1 THEN ", 10_000), many(" END", 10_000)),
        format!("SELECT x{}", many("[1]", 100_000)),
        format!("SELECT '{}'", many("x", SQL_BYTES_MAX)),
        format!("SELECT {}1{}", many("(SELECT ", 200), many(")", 200)),
        format!("SELECT 1 FROM {}x{}", many("(", 200), many(")", 200)),
        format!("SELECT {}1", many("- ", 3_000)),
        format!("SELECT {}TRUE", many("NOT ", 3_000)),
        format!("SELECT {}1{}", many("(SELECT ", 20), many(")", 20)),
        format!("SELECT 1 WHERE {}1=1{}", many("EXISTS (SELECT 1 WHERE ", 20), many(")", 20)),
        format!("SELECT {}1{}", many("abs(", 60), many(")", 60)),
        format!("SELECT {}1{}", many("abs (", 22), many(")", 22)),
        format!("SELECT {}", vec![format!("{}1{}", many("abs(", 12), many(")", 12)); 1_000].join(",")),
    ] {
        let error = parse(&sql).map(|_| ()).unwrap_err();
        assert_eq!(error.code, ErrorCode::SqlTooLong, "{}…: {error}", &sql[..20.min(sql.len())]);
    }
}
