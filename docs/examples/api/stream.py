"""Two changes of the book, and the id with which a client goes on after a break.

Usage: python3 stream.py [SERVER [LAST_EVENT_ID]]
"""
import json, sys, urllib.request

server = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:7777"
request = urllib.request.Request(f"{server}/api/v1/stream?fiat=USD")
if len(sys.argv) > 2:
    request.add_header("Last-Event-ID", sys.argv[2])
changes, event, last = 0, "", ""
with urllib.request.urlopen(request) as answer:
    for line in answer:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            event = value
        elif field == "id":
            last = value
        elif field == "data":
            print(event, json.loads(value)["d"])
            changes += 1
            if changes == 2:
                break
print("go on after", last)
