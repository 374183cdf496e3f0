#!/usr/bin/env bash
# Runs the tests: ./test.sh [--all] [pytest's options]; --all adds the long tests, the linter and the type checker
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" >/dev/null && pwd)
source "$root/env.sh"

find_python test
cd "$root"
which=(-m 'not long')
if [ "${1:-}" = --all ]; then
    shift
    which=()
    "$python" -m ruff check .
    "$python" -m mypy
fi
# Two processes, since half of the time is tracing, which takes one core; files in the order of tests/conftest.py.
exec "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "${which[@]}" "$@"
