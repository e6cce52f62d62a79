"""The posthog package as an application uses it: sends events, flushes, says which uuids it got.

A request is {"host", "token", "events": n, "gzip": bool, "prefix"}; the answer {"uuids": […], "errors": […]} comes
after the flush has returned, that is after the last answer of the server.
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
    client.flush(timeout_seconds=FLUSH_SECONDS_MAX)
    client.shutdown()
    print(json.dumps({"ok": {"uuids": uuids, "errors": errors}}), flush=True)
