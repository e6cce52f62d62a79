"""A DuckDB user with the iceberg extension: one JSON request a line in, one answer a line out.

A request is {"uri", "token", "statements": […]}: a new connection attaches the catalog as `lake` and runs the
statements; the answer is a list with {"columns": […], "rows": [[…]]} of each. Statements of "meanwhile" run in a
second connection before the last one.
"""

import json
import os
import signal
import sys

import duckdb

from plain import plain

SECONDS_MAX = 300
SITE = os.path.dirname(os.path.dirname(duckdb.__file__))
NO_DOWNLOADS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def connect(request):
    connection = duckdb.connect(config=NO_DOWNLOADS)
    for extension in ("avro", "httpfs", "iceberg"):  # the last needs the others
        folder = f"{SITE}/duckdb_extension_{extension}/extensions/v{duckdb.__version__}"
        connection.execute(f"LOAD {quoted(f'{folder}/{extension}.duckdb_extension')}")
    connection.execute("SET TimeZone = 'UTC'")
    attach = f"ATTACH 'hogflare' AS lake (TYPE iceberg, ENDPOINT {quoted(request['uri'])}, TOKEN {quoted(request['token'])})"
    connection.execute(attach)
    return connection


def answer(result):
    columns = [column[0] for column in result.description or []]
    return {"columns": columns, "rows": [[plain(value) for value in row] for row in result.fetchall()]}


def run(request):
    connection = connect(request)
    *first, last = request["statements"]
    try:
        answers = [answer(connection.execute(statement)) for statement in first]
        if request.get("meanwhile"):
            run({**request, "statements": request["meanwhile"], "meanwhile": []})
        return answers + [answer(connection.execute(last))]
    finally:
        connection.close()


for line in sys.stdin:
    request = json.loads(line)
    signal.alarm(SECONDS_MAX)
    try:
        reply = {"ok": run(request)}
    except Exception as error:  # the test decides whether an error is one
        reply = {"error": f"{type(error).__name__}: {error}"}
    signal.alarm(0)
    print(json.dumps(reply), flush=True)
