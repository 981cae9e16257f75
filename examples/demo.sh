#!/usr/bin/env bash
# The whole story on the embedded handwritten digits: teach, export once, distill twice, score.
# Leaves everything in demo/ for a closer look; begins anew each time.
set -euo pipefail
rm -rf demo
mkdir demo
cd demo

bold=''
plain=''
if [ -t 1 ]; then
    bold=$'\033[1m'
    plain=$'\033[0m'
fi

say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; "$@"; }

say ltkd data digits-lt
say ltkd teach --name teacher
say ltkd export-logits teacher
say ltkd distill --method kd --name student-kd
say ltkd distill --method bkd --name student-bkd
say ltkd eval teacher student-kd student-bkd
say ltkd eval student-bkd --split tail
