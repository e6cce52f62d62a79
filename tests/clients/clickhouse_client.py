"""A ClickHouse user (chdb): one JSON request a line in, one answer a line out.

A request is {"uri", "warehouse", "token" or "credential", "s3", "statements": […]}: a new session attaches the catalog
as the database `lake` and runs the statements; the answer is a list of {"rows": [[…]]}.
"""

import json
import os
import signal
import sys

from chdb import session

SECONDS_MAX = 300
WRITE = "SET allow_database_iceberg = 1, allow_insert_into_iceberg = 1, allow_experimental_insert_into_iceberg = 1"


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def attach(request):
    s3 = request.get("s3")
    settings = {"catalog_type": "rest", "warehouse": request.get("warehouse", "hogflare")}
    keys = ""
    if s3:
        keys = f", {quoted(s3['key'])}, {quoted(s3['secret'])}"
        settings["storage_endpoint"] = f"{s3['endpoint']}/{s3['bucket']}"
    if request.get("credential"):
        settings["catalog_credential"] = request["credential"]
    else:
        settings["auth_header"] = f"Authorization: Bearer {request['token']}"
    listed = ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items())
    engine = f"DataLakeCatalog({quoted(request['uri'] + '/v1')}{keys})"
    return f"CREATE DATABASE lake ENGINE = {engine} SETTINGS {listed}, vended_credentials = 0"


def answer(result):
    text = str(result)
    return {"rows": json.loads(text)["data"] if text.strip() else []}


def run(request):
    connection = session.Session()
    try:
        for setting in WRITE.removeprefix("SET ").split(", "):
            try:
                connection.query(f"SET {setting}")
            except Exception:  # releases name the setting for inserts in one way or the other
                pass
        connection.query(attach(request))
        return [answer(connection.query(statement, "JSONCompact")) for statement in request["statements"]]
    finally:
        connection.close()


# ClickHouse reads files below its working folder only; a catalog of this machine may keep them anywhere.
os.chdir("/")

for line in sys.stdin:
    request = json.loads(line)
    signal.alarm(SECONDS_MAX)
    try:
        reply = {"ok": run(request)}
    except Exception as error:  # the test decides whether an error is one
        reply = {"error": f"{type(error).__name__}: {error}"}
    signal.alarm(0)
    print(json.dumps(reply), flush=True)
