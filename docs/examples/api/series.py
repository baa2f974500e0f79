"""Implied price of one bitcoin by day: time, price, number of prices.

Usage: python3 series.py [SERVER]
"""
import json, sys, urllib.request

server = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:7777"
with urllib.request.urlopen(f"{server}/api/v1/market/USD/series?metric=implied_rate&by=day") as answer:
    for point in json.load(answer)["rates"]:
        if point["rate"] is not None:
            print(point["from"], point["rate"], point["samples"])
