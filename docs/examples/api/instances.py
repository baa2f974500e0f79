"""Share of the orders that each instance completed in the last 30 days, and the number of orders.

Usage: python3 instances.py [SERVER]
"""
import json, sys, urllib.request

server = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:7777"
with urllib.request.urlopen(f"{server}/api/v1/stats/groups?metric=orders.completion_rate&split=instance") as answer:
    for group in json.load(answer)["groups"]:
        value = group["value"]
        print(group["group"][:8], "unknown" if value is None else value, group["events"])
