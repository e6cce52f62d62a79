"""A DuckDB user with the iceberg extension: one JSON request a line in, one answer a line out.

A request is {"uri", "token", "statements": […]}, of a remote catalog also with "warehouse", "credential" and "s3": a new connection attaches the catalog as `lake` and runs the
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
    options = f"TYPE iceberg, ENDPOINT {quoted(request['uri'])}"
    if request.get("credential"):
        client, secret = request["credential"].split(":")
        login = f"CLIENT_ID {quoted(client)}, CLIENT_SECRET {quoted(secret)}, ENDPOINT {quoted(request['uri'])}"
        connection.execute(f"CREATE SECRET login (TYPE iceberg, {login})")
        options += ", SECRET login"
    else:
        options += f", TOKEN {quoted(request['token'])}"
    if request.get("s3"):
        s3 = request["s3"]
        host = s3["endpoint"].removeprefix("http://")
        keys = f"KEY_ID {quoted(s3['key'])}, SECRET {quoted(s3['secret'])}, REGION {quoted(s3['region'])}"
        connection.execute(f"CREATE SECRET keys (TYPE s3, {keys}, ENDPOINT {quoted(host)}, URL_STYLE 'path', USE_SSL false)")
        options += ", ACCESS_DELEGATION_MODE 'none'"
    warehouse = request.get("warehouse", "hogflare")
    connection.execute(f"ATTACH {quoted(warehouse)} AS lake ({options})")
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
