#!/usr/bin/env bash
# Runs the tests: ./test.sh [pytest's options]
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" >/dev/null && pwd)
source "$root/env.sh"

find_python test
cd "$root"
exec "$python" -m pytest -n 2 --dist loadfile "$@"  # half of the time is tracing, which takes one core
