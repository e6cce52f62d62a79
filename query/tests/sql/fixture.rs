//! Tables made by hand: heads, data files, delete files and tails, on a folder of their own.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema, TimestampMicrosecondType};
use futures::TryStreamExt;
use hogflare_catalog::tables::{
    BINDING_PROPERTY, Binding, DeadLetterRow, EventRow, GroupBuilder, SLOTS, TABLES, arrow_schema, field_id,
    iceberg_schema, partition_spec,
};
use hogflare_catalog::tail::{SealRecord, SealedFile, SealedRange};
use hogflare_catalog::{MetadataCache, Objects, Slot, Table, TableHead, Views, Watermark, WriterId};
use hogflare_query::{Engine, QuerySettings, Reader, SqlError, SqlRequest};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, Literal, MAIN_BRANCH,
    ManifestFile, ManifestList, ManifestListWriter, ManifestWriterBuilder, NestedField, Operation, PrimitiveType,
    Schema, Snapshot, SnapshotReference, SnapshotRetention, SortOrder, Struct, Summary, TableMetadata,
    TableMetadataBuilder, Type,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use tempfile::TempDir;

/// 2024-10-05 00:00 UTC, microseconds since 1970.
pub(crate) const DAY_US: i64 = 1_728_086_400_000_000;
const DAY: i32 = 20_001;

pub(crate) struct Lake {
    pub(crate) folder: TempDir,
    pub(crate) views: Arc<Views>,
    pub(crate) cache: Arc<MetadataCache>,
    writer: WriterId,
    builder: GroupBuilder,
    metadata: Arc<TableMetadata>,
    manifests: Vec<ManifestFile>,
    objects: u64,
    /// Of the next snapshot.
    summary: HashMap<String, String>,
}

/// A row of the events table.
pub(crate) fn event<'a>(event: &'a str, distinct_id: &'a str, timestamp_us: i64, properties: &'a str) -> EventRow<'a> {
    EventRow {
        uuid: "018f0000-0000-7000-8000-000000000000",
        event,
        distinct_id,
        timestamp_us,
        created_at_us: DAY_US,
        properties,
        api_key: "phc_test",
        ..EventRow::default()
    }
}

impl Lake {
    /// Both tables exist and are empty.
    pub(crate) fn new() -> Lake {
        Lake::over(Objects::local())
    }

    pub(crate) fn over(objects: Objects) -> Lake {
        let folder = tempfile::tempdir().unwrap();
        let writer = WriterId::new("11111111-2222-3333-4444-555555555555".parse().unwrap());
        let views = Arc::new(Views::new(writer.clone()));
        let location = |table: Table| format!("file://{}/{}", folder.path().display(), table.short_name());
        for table in Table::ALL {
            let metadata = Arc::new(created(table, &location(table)));
            views.publish_head(Arc::new(TableHead::new(table, metadata, String::new()).unwrap())).unwrap();
        }
        let metadata = Arc::new(created(Table::Events, &location(Table::Events)));
        let cache = Arc::new(MetadataCache::new(objects, 10_000));
        let builder = GroupBuilder::new(writer.clone(), [[1; TABLES]; SLOTS]);
        let manifests = Vec::new();
        let summary = HashMap::new();
        let mut lake = Lake { folder, views, cache, writer, builder, metadata, manifests, objects: 0, summary };
        lake.publish();
        lake
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine_with(|_| {})
    }

    pub(crate) fn engine_with(&self, change: impl FnOnce(&mut QuerySettings)) -> Engine {
        let runtime = tokio::runtime::Handle::current();
        let mut settings = QuerySettings::new(runtime, self.folder.path().join("spill"), 2);
        change(&mut settings);
        Engine::new(settings, Arc::clone(&self.views), Arc::clone(&self.cache)).unwrap()
    }

    fn batch(&mut self, slot: Slot, rows: &[EventRow<'_>]) -> (u64, RecordBatch) {
        for row in rows {
            self.builder.push_event(slot, row);
        }
        let part = self.builder.finish().remove(0);
        (part.first_position, part.batch)
    }

    /// Rows that are acknowledged and in memory.
    pub(crate) fn tail(&mut self, rows: &[EventRow<'_>]) {
        for row in rows {
            self.builder.push_event(Slot::Main, row);
        }
        self.views.publish_group(self.builder.finish(), DAY_US).unwrap();
    }

    /// Rows about persons and groups, acknowledged and in memory.
    pub(crate) fn identity(&mut self, push: impl FnOnce(&mut GroupBuilder)) {
        push(&mut self.builder);
        self.views.publish_group(self.builder.finish(), DAY_US).unwrap();
    }

    /// Dead letters that are acknowledged and in memory.
    pub(crate) fn dead_letters(&mut self, rows: &[DeadLetterRow<'_>]) {
        for row in rows {
            self.builder.push_dead_letter(Slot::Main, row);
        }
        self.views.publish_group(self.builder.finish(), DAY_US).unwrap();
    }

    /// Rows that are acknowledged and in a sealed local file. There must be no others in the tail.
    pub(crate) fn sealed(&mut self, rows: &[EventRow<'_>]) {
        let (first, batch) = self.batch(Slot::Main, rows);
        let folder = self.folder.path().join(format!("sealed-{first}"));
        std::fs::create_dir_all(&folder).unwrap();
        let (bytes, rows) = (parquet_of(&batch), rows.len() as u64);
        std::fs::write(folder.join("day.parquet"), &bytes).unwrap();
        let file = SealedFile { name: "day.parquet".into(), day: DAY, rows, bytes: bytes.len() as u64, crc32c: 0 };
        let record = SealRecord {
            slot: Slot::Main,
            table: Table::Events,
            after: first - 1,
            through: first - 1 + rows,
            files: vec![file],
            columns: String::new(),
            received_us: DAY_US,
            sealed_at_ms: 0,
        };
        self.views.publish_sealed(Arc::new(SealedRange::new(record, folder))).unwrap();
    }

    /// A commit of ours: the rows of the tail are not among them.
    pub(crate) async fn commit(&mut self, rows: &[EventRow<'_>]) -> String {
        let (_, batch) = self.batch(Slot::Late, rows);
        let batch = with_ids(&batch, &Binding::by_name(Table::Events, &self.at_creation()));
        self.commit_batch(&batch, true).await
    }

    /// A commit of ours that moves everything acknowledged into the table.
    pub(crate) async fn commit_tail(&mut self) {
        let view = self.views.current();
        let mut batches = view.table(Table::Events).unwrap().tail_batches().unwrap();
        let tail = view.tail(Table::Events, Slot::Main);
        let schema = batches[0].schema();
        for range in &tail.sealed {
            let file = std::fs::File::open(range.path(&range.record.files[0])).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                // Read back without ids and with another name for UTC; the columns are the table's.
                let batch = batch.unwrap();
                let columns = batch.columns().iter().zip(schema.fields());
                let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap());
                batches.push(RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap());
            }
        }
        let last = tail.chunks.last().map_or(0, |chunk| chunk.last_position());
        let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        let file = self.data_file(&batch, true);
        let snapshot_id = self.add(vec![file], Vec::new()).await;
        self.mark(last, snapshot_id);
    }

    /// States how far the table is.
    pub(crate) fn mark(&mut self, position: u64, snapshot_id: i64) {
        let mark = Watermark { epoch: 1, position, snapshot_id };
        let property = self.writer.watermark_property(Slot::Main);
        self.set_property(&property, &mark.to_string());
    }

    pub(crate) fn set_property(&mut self, name: &str, value: &str) {
        let property = HashMap::from([(name.to_owned(), value.to_owned())]);
        self.change(|builder| builder.set_properties(property).unwrap());
    }

    /// What the summary of the next snapshot says.
    pub(crate) fn state(&mut self, summary: &[(&str, &str)]) {
        self.summary = summary.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    }

    /// Adds a data file with the columns and field ids of a batch; gives its location.
    pub(crate) async fn commit_batch(&mut self, batch: &RecordBatch, ours: bool) -> String {
        let file = self.data_file(batch, ours);
        let location = file.file_path().to_owned();
        self.add(vec![file], Vec::new()).await;
        self.publish();
        location
    }

    /// A guest deletes rows by position.
    pub(crate) async fn delete(&mut self, location: &str, positions: &[i64]) {
        let field = |name: &str, data_type, id: i32| {
            let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
            Field::new(name, data_type, false).with_metadata(id)
        };
        let schema = ArrowSchema::new(vec![
            field("file_path", DataType::Utf8, 2_147_483_546),
            field("pos", DataType::Int64, 2_147_483_545),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![location; positions.len()])),
            Arc::new(Int64Array::from(positions.to_vec())),
        ];
        let bytes = parquet_of(&RecordBatch::try_new(Arc::new(schema), columns).unwrap());
        let file = self
            .describe("deletes", &bytes, positions.len())
            .content(DataContentType::PositionDeletes)
            .build()
            .unwrap();
        self.add(Vec::new(), vec![file]).await;
        self.publish();
    }

    /// A guest changes the schema: the fields as they are, by id, with their names.
    pub(crate) fn alter(&mut self, change: impl FnOnce(&mut Vec<NestedField>)) {
        let schema = self.metadata.current_schema();
        let mut fields: Vec<NestedField> =
            schema.as_struct().fields().iter().map(|field| field.as_ref().clone()).collect();
        change(&mut fields);
        let schema = Schema::builder().with_fields(fields.into_iter().map(Arc::new)).build().unwrap();
        self.change(|builder| builder.add_schema(schema).unwrap().set_current_schema(-1).unwrap());
    }

    fn at_creation(&self) -> Schema {
        self.metadata.schema_by_id(0).unwrap().as_ref().clone()
    }

    fn change(&mut self, change: impl FnOnce(TableMetadataBuilder) -> TableMetadataBuilder) {
        // Each snapshot is a millisecond ahead of the one before, a change is as old as the clock says, and
        // what is older than what is shown is not published.
        std::thread::sleep(std::time::Duration::from_millis(self.objects));
        let builder = self.metadata.as_ref().clone().into_builder(None);
        self.metadata = Arc::new(change(builder).build().unwrap().metadata);
        self.publish();
    }

    fn publish(&mut self) {
        let head = TableHead::new(Table::Events, Arc::clone(&self.metadata), String::new()).unwrap();
        self.views.publish_head(Arc::new(head)).unwrap();
    }

    fn object(&mut self, name: &str) -> (String, std::path::PathBuf) {
        self.objects += 1;
        let folder = self.folder.path().join("events");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}-{}", self.objects));
        (format!("file://{}", path.display()), path)
    }

    fn describe(&mut self, name: &str, bytes: &[u8], rows: usize) -> DataFileBuilder {
        let (location, path) = self.object(name);
        std::fs::write(path, bytes).unwrap();
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data)
            .file_path(location)
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::from_iter([Some(Literal::date(DAY))]))
            .partition_spec_id(0)
            .record_count(rows as u64)
            .file_size_in_bytes(bytes.len() as u64);
        file
    }

    fn data_file(&mut self, batch: &RecordBatch, ours: bool) -> DataFile {
        let name = if ours { "hf-11111111-main-00000000-1-2-3" } else { "guest" };
        let bytes = parquet_of(batch);
        let mut file = self.describe(name, &bytes, batch.num_rows());
        let mut statistics = Statistics::default();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            statistics.add(field_id(field).unwrap(), column, ours);
        }
        file.value_counts(statistics.values)
            .null_value_counts(statistics.nulls)
            .lower_bounds(statistics.lower)
            .upper_bounds(statistics.upper)
            .build()
            .unwrap()
    }

    async fn add(&mut self, data: Vec<DataFile>, deletes: Vec<DataFile>) -> i64 {
        let snapshot_id = 1_000 + self.objects as i64;
        let metadata = Arc::clone(&self.metadata);
        let (location, path) = self.object("manifest");
        let memory = FileIO::new_with_memory();
        let output = memory.new_output(&location).unwrap();
        let (schema, spec) =
            (Arc::clone(metadata.current_schema()), metadata.default_partition_spec().as_ref().clone());
        let builder = ManifestWriterBuilder::new(output, Some(snapshot_id), schema, spec);
        let mut writer = if data.is_empty() { builder.build_v2_deletes() } else { builder.build_v2_data() };
        for file in data.into_iter().chain(deletes) {
            writer.add_file(file, -1).unwrap();
        }
        let manifest = writer.write_manifest_file().await.unwrap();
        std::fs::write(path, memory.new_input(&location).unwrap().read().await.unwrap()).unwrap();

        let (location, path) = self.object("list");
        let sequence = metadata.next_sequence_number();
        let sink = memory.new_output(&location).unwrap().writer().await.unwrap();
        let mut list = ManifestListWriter::v2(sink, snapshot_id, metadata.current_snapshot_id(), sequence);
        self.manifests.push(manifest);
        list.add_manifests(self.manifests.clone().into_iter()).unwrap();
        list.close().await.unwrap();
        let bytes = memory.new_input(&location).unwrap().read().await.unwrap();
        let assigned = ManifestList::parse_with_version(&bytes, FormatVersion::V2).unwrap();
        self.manifests = assigned.consume_entries().into_iter().collect();
        std::fs::write(path, bytes).unwrap();

        let snapshot = Snapshot::builder()
            .with_snapshot_id(snapshot_id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(sequence)
            .with_timestamp_ms(metadata.last_updated_ms() + 1)
            .with_manifest_list(location)
            .with_summary(Summary {
                operation: Operation::Append,
                additional_properties: std::mem::take(&mut self.summary),
            })
            .with_schema_id(metadata.current_schema_id())
            .build();
        let retention = SnapshotRetention::branch(None, None, None);
        let builder = metadata.as_ref().clone().into_builder(None).add_snapshot(snapshot).unwrap();
        let builder = builder.set_ref(MAIN_BRANCH, SnapshotReference::new(snapshot_id, retention)).unwrap();
        self.metadata = Arc::new(builder.build().unwrap().metadata);
        snapshot_id
    }
}

#[derive(Default)]
struct Statistics {
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
}

impl Statistics {
    // Text bounds are cut to four characters and rounded outwards, as real ones are to sixteen.
    fn add(&mut self, id: i32, column: &ArrayRef, ours: bool) {
        if !ours {
            return;
        }
        self.values.insert(id, column.len() as u64);
        self.nulls.insert(id, column.null_count() as u64);
        let bounds = match column.data_type() {
            DataType::Int64 => {
                let values = column.as_primitive::<Int64Type>();
                min(values).zip(max(values)).map(|(low, high)| (Datum::long(low), Datum::long(high)))
            }
            DataType::Timestamp(..) => {
                let values = column.as_primitive::<TimestampMicrosecondType>();
                let bounds = min(values).zip(max(values));
                bounds.map(|(low, high)| (Datum::timestamptz_micros(low), Datum::timestamptz_micros(high)))
            }
            DataType::Utf8 => {
                let values = column.as_string::<i32>();
                let cut = |text: &str| text.chars().take(4).collect::<String>();
                let bounds = min_string(values).zip(max_string(values));
                bounds.map(|(low, high)| (Datum::string(cut(low)), Datum::string(cut(high) + "\u{10FFFF}")))
            }
            _ => None,
        };
        if let Some((low, high)) = bounds {
            self.lower.insert(id, low);
            self.upper.insert(id, high);
        }
    }
}

fn created(table: Table, location: &str) -> TableMetadata {
    let schema = iceberg_schema(table).unwrap();
    let spec = partition_spec(table, &schema).unwrap();
    let binding = Binding::by_name(table, &schema).to_property(table);
    let properties = HashMap::from([(BINDING_PROPERTY.to_owned(), binding)]);
    let order = SortOrder::unsorted_order();
    let builder =
        TableMetadataBuilder::new(schema, spec, order, location.to_owned(), FormatVersion::V2, properties).unwrap();
    builder.build().unwrap().metadata
}

/// Rows with the field ids of a binding.
pub(crate) fn with_ids(batch: &RecordBatch, binding: &Binding) -> RecordBatch {
    let schema = arrow_schema(Table::Events);
    let fields = schema.fields().iter().enumerate().map(|(index, field)| {
        let id = binding.id(index).map(|id| (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string()));
        field.as_ref().clone().with_metadata(id.into_iter().collect())
    });
    let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, batch.columns().to_vec()).unwrap()
}

/// Row groups of four rows, so that small files have several.
fn parquet_of(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4)).build();
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// An optional column that a guest adds.
pub(crate) fn optional(id: i32, name: &str, kind: PrimitiveType) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(kind))
}

/// One who reads everything.
pub(crate) fn reader() -> Reader {
    Reader::of_all("test")
}

/// The whole body of an answer.
pub(crate) async fn bytes(engine: &Engine, request: SqlRequest) -> Result<Vec<u8>, SqlError> {
    let answer = engine.run(request, reader()).await?;
    let pieces: Vec<bytes::Bytes> = answer.body.try_collect().await?;
    Ok(pieces.concat())
}

pub(crate) async fn document(engine: &Engine, request: SqlRequest) -> Result<Value, SqlError> {
    Ok(serde_json::from_slice(&bytes(engine, request).await?).unwrap())
}

/// The rows of a JSON answer, as text.
pub(crate) async fn rows(engine: &Engine, sql: &str) -> String {
    match document(engine, SqlRequest::of_sql(sql)).await {
        Ok(document) => document["rows"].to_string(),
        Err(error) => format!("{error}"),
    }
}
