"""The posthog package as an application uses it: sends events, flushes, says which uuids it got.

A request is {"host", "token", "events": n, "gzip": bool, "mode": "v0" or "v1", "prefix"}; the answer
{"uuids": […], "errors": […]} comes after the flush has returned, that is after the last answer of the server.
With "ai", one more event goes through the lane of AI events.
"""

import json
import sys

from posthog import Posthog

FLUSH_SECONDS_MAX = 300

for line in sys.stdin:
    request = json.loads(line)
    errors = []
    client = Posthog(
        request["token"],
        host=request["host"],
        gzip=request["gzip"],
        capture_mode=request["mode"],
        max_queue_size=request["events"] + 1,
        on_error=lambda error, batch: errors.append(f"{error} ({len(batch)} events)"),
    )
    uuids = []
    for number in range(request["events"]):
        uuids.append(
            client.capture(
                "order placed" if number % 10 == 0 else "$pageview",
                distinct_id=f"{request['prefix']}-{number % 250}",
                properties={
                    "$current_url": f"https://shop.example/item/{number % 40}",
                    "$session_id": f"session-{number // 20}",
                    "amount": number / 8,
                    "note": "größer als 5 € 🛒",
                },
            )
        )
    if request.get("ai"):
        client.capture_ai("$ai_generation", distinct_id="model-user", properties={"$ai_model": "m-1"})
    client.flush(timeout_seconds=FLUSH_SECONDS_MAX)
    client.shutdown()
    print(json.dumps({"ok": {"uuids": uuids, "errors": errors}}), flush=True)
