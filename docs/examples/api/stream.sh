#!/bin/sh
# Two changes of the book, and the id with which a client goes on after a break.
# Usage: stream.sh [SERVER [LAST_EVENT_ID]]
server=${1:-http://localhost:7777}
curl -fsSN "$server/api/v1/stream?fiat=USD&last_event_id=${2:-}" | {
  changes=0 event='' id=''
  while [ $changes -lt 2 ] && read -r field value; do
    case $field in
      event:) event=$value ;;
      id:) id=$value ;;
      data:)
        printf '%s %s\n' "$event" "$(printf '%s' "$value" | jq -r .d)"
        changes=$((changes + 1))
        ;;
    esac
  done
  echo "go on after $id"
}
