//! Names of types, as clients see them: Arrow's, in lower case.

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_functions_json::JSON_UNION_DATA_TYPE;

pub(super) fn name(data_type: &DataType) -> String {
    match data_type {
        data_type if data_type == &*JSON_UNION_DATA_TYPE => "json".to_owned(),
        DataType::Timestamp(unit, None) => format!("timestamp({})", unit_name(unit)),
        DataType::Timestamp(unit, Some(zone)) => {
            let zone = if is_utc(zone) { "UTC" } else { zone };
            format!("timestamp({}, {zone})", unit_name(unit))
        }
        DataType::Time32(unit) => format!("time32({})", unit_name(unit)),
        DataType::Time64(unit) => format!("time64({})", unit_name(unit)),
        DataType::Duration(unit) => format!("duration({})", unit_name(unit)),
        DataType::Decimal32(precision, scale) => format!("decimal32({precision}, {scale})"),
        DataType::Decimal64(precision, scale) => format!("decimal64({precision}, {scale})"),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision}, {scale})"),
        DataType::Decimal256(precision, scale) => format!("decimal256({precision}, {scale})"),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => list(item),
        DataType::LargeListView(item) | DataType::FixedSizeList(item, _) => list(item),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{}: {}", field.name(), name(field.data_type())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("map<{}, {}>", name(fields[0].data_type()), name(fields[1].data_type()))
            }
            _ => "map".to_owned(),
        },
        DataType::Dictionary(_, values) => name(values),
        DataType::RunEndEncoded(_, values) => name(values.data_type()),
        DataType::FixedSizeBinary(size) => format!("fixed_size_binary({size})"),
        DataType::Interval(_) => "interval".to_owned(),
        DataType::Union(..) => "union".to_owned(),
        DataType::Utf8View => "utf8".to_owned(),
        DataType::BinaryView => "binary".to_owned(),
        simple => format!("{simple:?}").to_ascii_lowercase(),
    }
}

fn list(item: &Field) -> String {
    format!("list<{}>", name(item.data_type()))
}

fn unit_name(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

pub(super) fn is_utc(zone: &str) -> bool {
    matches!(zone, "+00:00" | "UTC" | "utc" | "Z" | "+00")
}
