#!/usr/bin/env bash
# Measures a run: ./eval.sh eval-NAME logs/RUN [--gpu 0] [--set key=value ...]
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" >/dev/null && pwd)
source "$root/env.sh"

config=$(config_file evals evaluation "${1:-}" 'logs/RUN ')
[ -n "${2:-}" ] && [ "${2#-}" = "$2" ] || fail "name the working directory of a run: $0 $1 logs/RUN"
run=$2
shift 2
find_python
exec "$python" -m core.cli.launch "$config" --log "$run" "$@"
