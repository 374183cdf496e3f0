#!/usr/bin/env bash
# Runs the tests: ./test.sh [pytest's options]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$root/env.sh"

find_python test
cd "$root"
exec "$python" -m pytest "$@"
