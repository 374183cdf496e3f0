#!/usr/bin/env bash
# Measures a run, or several: ./eval.sh eval-NAME logs/RUN [logs/RUN ...] [--gpu 0] [--set key=value ...]
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" >/dev/null && pwd)
source "$root/env.sh"

config=$(config_file evals evaluation "${1:-}" 'logs/RUN [logs/RUN ...] ')
name=${1:-}
shift
runs=()
while [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; do
    [ -n "$1" ] || fail "name the working directory of a run: $0 $name logs/RUN"
    runs+=(--log "$1")
    shift
done
[ ${#runs[@]} -gt 0 ] || fail "name the working directory of a run: $0 $name logs/RUN"
find_python
exec "$python" -m core.cli.launch "$config" "${runs[@]}" "$@"
