"""Best bid, best ask and rate of a market, the prices per bitcoin.

Usage: python3 market.py [SERVER]
"""
import json, sys, urllib.request

server = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:7777"
with urllib.request.urlopen(f"{server}/api/v1/market/USD") as answer:
    market = json.load(answer)
for name in "bid", "ask", "rate":
    print(name, (market[name] or {}).get("price") or "unknown")
