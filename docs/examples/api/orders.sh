#!/bin/sh
# Three cheapest orders for 100 USD: name, sats to receive, cost in percent.
# Usage: orders.sh [SERVER]
server=${1:-http://localhost:7777}
curl -fsS "$server/api/v1/orders?fiat=USD&side=sell&fiat_amount=100&sort=cost&limit=3" |
  jq -r '.items[] | select(.price.sats != null) | "\(.d) \(.price.sats) \(.price.cost_pct)"'
