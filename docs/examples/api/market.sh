#!/bin/sh
# Best bid, best ask and rate of a market, the prices per bitcoin.
# Usage: market.sh [SERVER]
server=${1:-http://localhost:7777}
curl -fsS "$server/api/v1/market/USD" |
  jq -r '"bid \(.bid.price // "unknown")", "ask \(.ask.price // "unknown")", "rate \(.rate.price // "unknown")"'
