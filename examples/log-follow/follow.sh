#!/bin/sh
# Follows a log file into a topic, an event a line, with the longwave command. Stops when it is stopped (Ctrl-C).
#
#     ./follow.sh FILE TOPIC
set -eu
tail -n +1 -F "$1" | longwave publish --lines "$2"
