#!/bin/sh
# The same with nothing but curl: -T. uploads standard input as it comes. It does not come back when the connection breaks.
#
#     ./follow-curl.sh FILE TOPIC
set -eu
server=${LONGWAVE_SERVER:-http://127.0.0.1:4480}
tail -n +1 -F "$1" | curl -sST. --fail-with-body -X POST "$server/topics/$2?lines"
