//! The one read-only gate, for every door: text → one statement that only reads → checked plan.
//!
//! A statement is refused by its form before it is planned, and its plan is checked again before it
//! runs. User text never reaches `SessionContext::sql`, which executes DDL while it plans.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::DefaultTableSource;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::functions_table::generate_series::GenerateSeriesTable;
use datafusion::logical_expr::{LogicalPlan, Statement as PlanStatement, TableScan};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement, visit_statements};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{ErrorCode, Result, SqlError};
use crate::params::Params;
use crate::request::SQL_BYTES_MAX;
use crate::scan::IcebergTable;
use crate::scoped::{self, Scope, ScopedTable};
use crate::snapshots::SnapshotsTable;

/// Brackets inside one another.
const DEPTH_MAX: usize = 64;
/// Operators that may come to lie below one another in the statement's tree. Trees are copied, evaluated
/// and dropped by recursion, and a chain of operators is a tree as deep as it is long.
const OPERATORS_DEEP_MAX: usize = 1_000;
/// Tokens that the parser may look at. It reads the arguments of a call twice, first as named ones, so
/// that a token inside `n` calls is read `2^n` times.
const TOKENS_READ_MAX: u64 = 2_000_000;
/// Queries inside expressions of one another: the planner's work doubles with each.
const SUBQUERIES_DEEP_MAX: usize = 8;
/// Levels that the parser may descend; a level takes about 5 kB of stack.
pub(crate) const RECURSION_MAX: usize = 128;

/// The one statement of a text, if it is of a form that only reads.
pub(crate) fn parse(sql: &str) -> Result<Statement> {
    if sql.len() > SQL_BYTES_MAX {
        let message = format!("the SQL has {} bytes; at most {SQL_BYTES_MAX} are allowed", sql.len());
        return Err(SqlError::new(ErrorCode::SqlTooLong, message));
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().map_err(|error| {
        SqlError::new(ErrorCode::SyntaxError, error.message).at(error.location.line, error.location.column)
    })?;
    check_size(&tokens)?;
    let mut statements = DFParserBuilder::new(tokens)
        .with_dialect(&PostgreSqlDialect {})
        .with_recursion_limit(RECURSION_MAX)
        .build()?
        .parse_statements()?;
    let Some(statement) = statements.pop_front() else {
        return Err(SqlError::new(ErrorCode::SyntaxError, "there is no statement"));
    };
    if !statements.is_empty() {
        let count = statements.len() + 1;
        let message = format!("one statement at a time; the text has {count}");
        return Err(SqlError::new(ErrorCode::SyntaxError, message));
    }
    match refused_form(&statement) {
        Some(name) => Err(refused(&name)),
        None => Ok(statement),
    }
}

/// Refuses what would be nested too deeply, before anything descends into it.
fn check_size(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut levels = vec![Level { times_read: 1, ..Level::default() }];
    let (mut deep, mut tokens_read) = (0, 0_u64);
    let mut before = &Token::EOF;
    for TokenWithSpan { token, span } in tokens {
        if matches!(token, Token::Whitespace(_)) {
            continue;
        }
        let nested = levels.len() > 1;
        let level = levels.last_mut().expect("the outermost level stays");
        tokens_read = tokens_read.saturating_add(level.times_read);
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                let opened = level.open(before, token);
                levels.push(opened);
            }
            Token::Word(word)
                if matches!(before, Token::LParen) && matches!(word.keyword, Keyword::SELECT | Keyword::WITH) =>
            {
                level.subqueries += usize::from(!level.is_relation);
            }
            Token::RParen | Token::RBracket | Token::RBrace if nested => {
                let closed = levels.pop().unwrap_or_default();
                let inside = closed.deepest.max(closed.operators) + usize::from(matches!(token, Token::RBracket));
                deep = deep - closed.operators + inside;
                levels.last_mut().expect("the outermost level stays").operators += inside;
            }
            Token::Comma => {
                level.deepest = level.deepest.max(level.operators);
                deep -= std::mem::take(&mut level.operators);
            }
            token if is_operator(token) => {
                level.operators += 1;
                deep += 1;
            }
            _ => {}
        }
        before = token;
        let subqueries = levels.last().map_or(0, |level| level.subqueries);
        let too_much = if levels.len() > DEPTH_MAX {
            format!("the SQL has more than {DEPTH_MAX} brackets inside one another")
        } else if deep > OPERATORS_DEEP_MAX {
            format!("the SQL has more than {OPERATORS_DEEP_MAX} operators in one expression")
        } else if subqueries > SUBQUERIES_DEEP_MAX {
            format!("the SQL has more than {SUBQUERIES_DEEP_MAX} queries inside one another")
        } else if tokens_read > TOKENS_READ_MAX {
            "the SQL is too long for the depth of its function calls".to_owned()
        } else {
            continue;
        };
        return Err(SqlError::new(ErrorCode::SqlTooLong, too_much).at(span.start.line, span.start.column));
    }
    Ok(())
}

/// An open bracket: operators since the last comma, and the most between two commas before it.
#[derive(Default)]
struct Level {
    operators: usize,
    deepest: usize,
    /// How often the parser reads a token at this level.
    times_read: u64,
    /// Queries in expressions around this level, and its own.
    subqueries: usize,
    /// Whether the bracket stands where a table can.
    is_relation: bool,
}

impl Level {
    fn open(&self, before: &Token, bracket: &Token) -> Level {
        let is_call =
            matches!(bracket, Token::LParen) && matches!(before, Token::Word(word) if may_be_called(word.keyword));
        let is_relation = match before {
            Token::Word(word) => matches!(
                word.keyword,
                Keyword::FROM
                    | Keyword::JOIN
                    | Keyword::LATERAL
                    | Keyword::AS
                    | Keyword::UNION
                    | Keyword::ALL
                    | Keyword::EXCEPT
                    | Keyword::INTERSECT
            ),
            Token::LParen => self.is_relation,
            Token::EOF => true,
            _ => false,
        };
        Level {
            times_read: if is_call { self.times_read.saturating_mul(2) } else { self.times_read },
            subqueries: self.subqueries,
            is_relation,
            ..Level::default()
        }
    }
}

/// Whether a bracket behind a word may be that of a call.
fn may_be_called(word: Keyword) -> bool {
    !matches!(
        word,
        Keyword::SELECT
            | Keyword::FROM
            | Keyword::JOIN
            | Keyword::LATERAL
            | Keyword::WHERE
            | Keyword::ON
            | Keyword::USING
            | Keyword::AS
            | Keyword::IN
            | Keyword::EXISTS
            | Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::BY
            | Keyword::OVER
            | Keyword::UNION
            | Keyword::ALL
            | Keyword::VALUES
    )
}

/// Whether a token puts what is on its left, or on its right, one level deeper.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::XOR
                | Keyword::DIV
                | Keyword::IS
                | Keyword::IN
                | Keyword::BETWEEN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::SIMILAR
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::CASE
                | Keyword::INTERVAL
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::MINUS
                | Keyword::JOIN
        ),
        Token::Whitespace(_) | Token::Period | Token::SemiColon | Token::EOF => false,
        Token::Number(..) | Token::Placeholder(_) | Token::SingleQuotedString(_) => false,
        Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_) => false,
        Token::RParen | Token::RBracket | Token::RBrace => false,
        _ => true,
    }
}

/// The name of what a statement would do beyond reading, if anything.
fn refused_form(statement: &Statement) -> Option<String> {
    match statement {
        Statement::Statement(statement) => match statement.as_ref() {
            SqlStatement::Query(query) => statement_inside(query),
            SqlStatement::ShowTables { .. } | SqlStatement::ShowColumns { .. } | SqlStatement::ExplainTable { .. } => {
                None
            }
            other => Some(name_of(&other.to_string())),
        },
        Statement::Explain(explain) => match explain.statement.as_ref() {
            inner @ Statement::Statement(query) if matches!(query.as_ref(), SqlStatement::Query(_)) => {
                refused_form(inner)
            }
            other => Some(name_of(&other.to_string())),
        },
        Statement::CreateExternalTable(_) => Some("CREATE EXTERNAL TABLE".to_owned()),
        Statement::CopyTo(_) => Some("COPY".to_owned()),
        Statement::Reset(_) => Some("RESET".to_owned()),
    }
}

/// `WITH x AS (INSERT …)` and `INSERT` in the place of a `SELECT`.
fn statement_inside(query: &Query) -> Option<String> {
    match visit_statements(query, |statement| ControlFlow::Break(name_of(&statement.to_string()))) {
        ControlFlow::Break(name) => Some(name),
        ControlFlow::Continue(()) => None,
    }
}

/// The first word of a statement, or two where one says too little.
fn name_of(statement: &str) -> String {
    let mut words = statement.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or("this statement").to_ascii_uppercase();
    match first.as_str() {
        "CREATE" | "DROP" | "ALTER" => format!("{first} {}", words.next().unwrap_or_default().to_ascii_uppercase()),
        _ => first,
    }
}

fn refused(name: &str) -> SqlError {
    SqlError::new(ErrorCode::ReadOnly, format!("{name} is not possible here: SQL only reads"))
}

/// The plan of a statement that [`parse`] let through, with the parameters bound.
pub(crate) async fn plan(
    state: &SessionState,
    statement: Statement,
    params: Params,
    scope: &Scope,
) -> Result<LogicalPlan> {
    let (statement, values) = params.declare_in(statement)?;
    let plan = match state.statement_to_plan(statement).await? {
        LogicalPlan::Statement(PlanStatement::Prepare(declared)) => Arc::unwrap_or_clone(declared.input),
        plan => plan,
    };
    let plan = match values {
        Some(values) => plan.with_param_values(values)?,
        None => plan,
    };
    check_plan(&plan, scope)?;
    Ok(plan)
}

fn check_plan(plan: &LogicalPlan, scope: &Scope) -> Result<()> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(plan).map_err(|_| refused("writing"))?;
    let mut found = Ok(());
    plan.apply_with_subqueries(|node| {
        found = check_node(node, scope);
        Ok(if found.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    found
}

fn check_node(node: &LogicalPlan, scope: &Scope) -> Result<()> {
    match node {
        LogicalPlan::TableScan(scan) if !is_ours(scan, scope) => {
            let message = format!("table '{}' not found", scan.table_name);
            Err(SqlError::new(ErrorCode::UnknownTable, message))
        }
        // Counts what operators did, and the time that they took.
        LogicalPlan::Analyze(_) if !scope.is_all() => Err(scoped::refused("EXPLAIN ANALYZE")),
        LogicalPlan::Extension(extension) => Err(refused(extension.node.name())),
        LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_) => {
            Err(refused("writing"))
        }
        _ => Ok(()),
    }
}

/// Our tables, the harmless part of the information schema, and functions that make rows from nothing.
/// For a reader of single projects only tables that are confined to them.
fn is_ours(scan: &TableScan, scope: &Scope) -> bool {
    if scan.table_name.schema() == Some("information_schema") {
        return scan.table_name.table() != "df_settings";
    }
    let Some(source) = scan.source.as_any().downcast_ref::<DefaultTableSource>() else { return false };
    let provider = source.table_provider.as_any();
    let is_table = match scope {
        Scope::All => provider.is::<IcebergTable>() || provider.is::<SnapshotsTable>(),
        Scope::Only(_) => provider.is::<ScopedTable>(),
    };
    is_table || provider.is::<GenerateSeriesTable>() || provider.is::<CteWorkTable>()
}

#[cfg(test)]
mod tests;
