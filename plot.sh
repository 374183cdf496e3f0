#!/usr/bin/env bash
# Draws runs: ./plot.sh figure-NAME logs/RUN [logs/RUN ...] [--out DIR] [--format png,pdf,svg] [--watch SECONDS]
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" >/dev/null && pwd)
source "$root/env.sh"

figure=$(config_file figures figure "${1:-}" 'logs/RUN ')
shift
find_python
exec "$python" -m core.cli.launch "$figure" "$@"
