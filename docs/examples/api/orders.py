"""Three cheapest orders for 100 USD: name, sats to receive, cost in percent.

Usage: python3 orders.py [SERVER]
"""
import json, sys, urllib.parse, urllib.request

server = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:7777"
query = urllib.parse.urlencode({"fiat": "USD", "side": "sell", "fiat_amount": 100, "sort": "cost", "limit": 3})
with urllib.request.urlopen(f"{server}/api/v1/orders?{query}") as answer:
    for order in json.load(answer)["items"]:
        price = order["price"]
        if price and price["sats"] is not None:
            print(order["d"], price["sats"], price["cost_pct"])
