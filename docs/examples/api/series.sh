#!/bin/sh
# Implied price of one bitcoin by day: time, price, number of prices.
# Usage: series.sh [SERVER]
server=${1:-http://localhost:7777}
curl -fsS "$server/api/v1/market/USD/series?metric=implied_rate&by=day" |
  jq -r '.rates[] | select(.rate != null) | "\(.from) \(.rate) \(.samples)"'
