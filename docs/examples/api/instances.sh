#!/bin/sh
# Share of the orders that each instance completed in the last 30 days, and the number of orders.
# Usage: instances.sh [SERVER]
server=${1:-http://localhost:7777}
curl -fsS "$server/api/v1/stats/groups?metric=orders.completion_rate&split=instance" |
  jq -r '.groups[] | "\(.group[0:8]) \(.value // "unknown") \(.events)"'
