"""A PyIceberg user: one JSON request a line on standard input, one answer a line on standard output.

Requests carry `uri`, `token`, `table` (in `namespace`, else `default`) and `op`; of a remote
catalog also `warehouse`, `credential` (in place of `token`) and `s3`:
  rows    columns (empty: all), filter → {"columns": […], "rows": [[…]]}
  each    filters → for each filter the sorted uuids
  audit   → {"rows": n, "writers": [[writer, rows, distinct positions, first, last], …]}
  identities  whose events those of the table are, with the overrides of `hogflare_person_overrides`:
          {"stamped": [[api_key, person, n], …], "resolved": [[api_key, person, n], …]}
  append  rows (objects), tries → {"commits": n, "conflicts": n}
As an administrator with the token `admin`:
  stage       rows → creates the table with n rows in one transaction: {"rows": n, "early": was there before its end}
  rename      to → {"rows": n} of the table under its new name
  reregister  to → drops the table and registers its last metadata: {"rows": n}
  tables      → names in the namespace
A filter is null, {"eq": [column, value]}, {"null": column} or {"range": [column, from, to]}.
"""

import datetime
import json
import signal
import sys

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import AlwaysTrue, And, EqualTo, GreaterThanOrEqual, IsNull, LessThan

from plain import plain

SECONDS_MAX = 300  # for one request; then the process ends and the test fails


def expression(wanted):
    if wanted is None:
        return AlwaysTrue()
    ((kind, argument),) = wanted.items()
    if kind == "eq":
        column, value = argument
        # PyIceberg takes instants only with a numeric offset.
        return EqualTo(column, value.replace("Z", "+00:00") if column == "timestamp" else value)
    if kind == "null":
        return IsNull(argument)
    if kind == "range":
        return And(GreaterThanOrEqual(argument[0], argument[1]), LessThan(argument[0], argument[2]))
    raise ValueError(f"unknown filter {kind}")


def open_catalog(request):
    settings = {"type": "rest", "uri": request["uri"]}
    if request.get("warehouse"):
        settings["warehouse"] = request["warehouse"]
    if request.get("credential"):
        settings |= {"credential": request["credential"], "scope": "catalog"}
    else:
        settings["token"] = request.get("admin", request["token"])
    if request.get("s3"):
        s3 = request["s3"]
        settings |= {"s3.endpoint": s3["endpoint"], "s3.access-key-id": s3["key"]}
        settings |= {"s3.secret-access-key": s3["secret"], "s3.region": s3["region"]}
    return load_catalog("hogflare", **settings)


def open_table(request):
    return open_catalog(request).load_table((request.get("namespace", "default"), request["table"]))


def rows(request):
    columns = tuple(request.get("columns") or ["*"])
    scan = open_table(request).scan(row_filter=expression(request.get("filter")), selected_fields=columns)
    found = scan.to_arrow()
    names = found.column_names
    if columns != ("*",):
        names = list(columns)
    columns = [found.column(name).to_pylist() for name in names]
    return {"columns": names, "rows": [[plain(value) for value in row] for row in zip(*columns)]}


def each(request):
    table = open_table(request)
    found = (table.scan(expression(wanted), ("uuid",)).to_arrow() for wanted in request["filters"])
    return [sorted(rows.column("uuid").to_pylist()) for rows in found]


def audit(request):
    found = open_table(request).scan(selected_fields=("_writer", "_position")).to_arrow()
    ours = found.filter(pc.is_valid(found.column("_writer")))
    grouped = ours.group_by("_writer").aggregate(
        [("_position", "count"), ("_position", "count_distinct"), ("_position", "min"), ("_position", "max")]
    )
    names = ["_writer", "_position_count", "_position_count_distinct", "_position_min", "_position_max"]
    writers = list(zip(*(grouped.column(name).to_pylist() for name in names)))
    return {"rows": found.num_rows, "writers": writers}


def identities(request):
    events = open_table(request).scan(selected_fields=("api_key", "distinct_id", "person_id")).to_arrow()
    moves = open_table({**request, "table": "hogflare_person_overrides"}).scan(
        selected_fields=("api_key", "distinct_id", "person_id", "version")
    ).to_arrow()
    # Of the moves of a distinct id the one with the highest version holds.
    newest = moves.sort_by("version").group_by(["api_key", "distinct_id"], use_threads=False)
    newest = newest.aggregate([("person_id", "last")])
    joined = events.join(newest, keys=["api_key", "distinct_id"], join_type="left outer")
    resolved = pc.coalesce(joined.column("person_id_last"), joined.column("person_id"))

    def counted(table):
        counts = table.group_by(["api_key", "person_id"]).aggregate([([], "count_all")])
        return sorted([row["api_key"], row["person_id"], row["count_all"]] for row in counts.to_pylist())

    of_now = pa.table({"api_key": joined.column("api_key"), "person_id": resolved})
    return {"stamped": counted(events), "resolved": counted(of_now)}


def append(request):
    """Each row is a commit of its own, tried again after a conflict on refreshed metadata."""
    table = open_table(request)
    commits = conflicts = 0
    for row in request["rows"]:
        schema = table.schema().as_arrow()
        values = {field.name: row.get(field.name) for field in schema}
        for field in schema:
            if pa.types.is_timestamp(field.type) and values[field.name] is not None:
                values[field.name] = datetime.datetime.fromisoformat(values[field.name].replace("Z", "+00:00"))
        data = pa.Table.from_pylist([values], schema=schema)
        for _ in range(request["tries"]):
            try:
                table.append(data)
                commits += 1
                break
            except CommitFailedException:
                conflicts += 1
                table.refresh()
    return {"commits": commits, "conflicts": conflicts}


def stage(request):
    catalog, name = open_catalog(request), ("default", request["table"])
    data = pa.table({"n": range(request["rows"]), "half": [n // 2 for n in range(request["rows"])]})
    with catalog.create_table_transaction(name, data.schema) as transaction:
        with transaction.update_spec() as spec:
            spec.add_identity("half")
        transaction.append(data)
        early = catalog.table_exists(name)
    table = catalog.load_table(name)
    found = sorted(table.scan().to_arrow().column("n").to_pylist())
    assert found == list(range(request["rows"])), found
    return {"rows": len(found), "early": early}


def rename(request):
    table = open_catalog(request).rename_table(("default", request["table"]), ("default", request["to"]))
    return {"rows": table.scan().to_arrow().num_rows}


def reregister(request):
    catalog, name = open_catalog(request), ("default", request["table"])
    location = catalog.load_table(name).metadata_location
    catalog.drop_table(name)
    table = catalog.register_table(("default", request["to"]), location)
    return {"rows": table.scan().to_arrow().num_rows}


def tables(request):
    return [name for _, name in open_catalog(request).list_tables("default")]


OPERATIONS = {
    "rows": rows,
    "each": each,
    "audit": audit,
    "identities": identities,
    "append": append,
    "stage": stage,
    "rename": rename,
    "reregister": reregister,
    "tables": tables,
}

for line in sys.stdin:
    request = json.loads(line)
    signal.alarm(SECONDS_MAX)
    try:
        answer = {"ok": OPERATIONS[request["op"]](request)}
    except Exception as error:  # the test decides whether an error is one
        answer = {"error": f"{type(error).__name__}: {error}"}
    signal.alarm(0)
    print(json.dumps(answer), flush=True)
