"""Flags of the posthog package as an application uses them: the requests and answers of flags_node.mjs."""

import json
import logging
import sys
import traceback
import warnings

import posthog.client
from posthog import Posthog

NEVER_SECONDS = 10**9

# Only what the package says in its answers counts, whatever calls it would like better.
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

asked = []
fetch = posthog.client.get
with_cohorts = True


def noted_fetch(key, path, *words, **named):
    """Fetches definitions; earlier releases did not say that they understand cohorts."""
    answer = fetch(key, path if with_cohorts else path.replace("&send_cohorts", ""), *words, **named)
    asked.append([path.partition("?")[0], 304 if answer.not_modified else 200])
    return answer


posthog.client.get = noted_fetch


def options(question):
    named = {
        "groups": question.get("groups"),
        "person_properties": json.loads(question["properties"]) if "properties" in question else None,
        "group_properties": question.get("group_properties"),
        "device_id": question.get("device_id"),
    }
    return {name: value for name, value in named.items() if value is not None}


def every(client, question, **more):
    found = client.get_all_flags_and_payloads(question["distinct_id"], **options(question), **more)
    return {"values": found["featureFlags"], "payloads": found["featureFlagPayloads"]}


def local(client, request):
    client.load_feature_flags()
    more = {"only_evaluate_locally": True, "flag_keys_to_evaluate": request.get("keys")}
    return [every(client, question, **more) for question in request["questions"]]


def poll(client, request):
    client.load_feature_flags()
    for _ in range(request["times"]):
        client._load_feature_flags()


def remote(client, request):
    question = request["question"]
    each = {}
    for key in request["keys"]:
        value = client.get_feature_flag(key, question["distinct_id"], **options(question))
        each[key] = [value, client.get_feature_flag_payload(key, question["distinct_id"], **options(question))]
    named = {"flag_keys": request["keys"], **options(question)}
    found = client.evaluate_flags(question["distinct_id"], **named)
    together = {key: [found.get_flag(key), found.get_flag_payload(key)] for key in request["keys"]}
    return {**every(client, question), "each": each, "together": together}


def payloads(client, request):
    return {key: client.get_remote_config_payload(key) for key in request["keys"]}


for line in sys.stdin:
    request = json.loads(line)
    asked.clear()
    with_cohorts = request.get("send_cohorts", True)
    errors = []
    client = Posthog(
        request["token"],
        host=request["host"],
        secret_key=request.get("key"),
        poll_interval=NEVER_SECONDS,
        on_error=lambda error, batch: errors.append(str(error)),
    )
    try:
        answer = globals()[request["op"]](client, request)
        client.shutdown()
        print(json.dumps({"ok": {"answer": answer, "asked": asked, "errors": errors}}), flush=True)
    except Exception:
        print(json.dumps({"error": traceback.format_exc()}), flush=True)
