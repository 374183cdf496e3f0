#!/usr/bin/env bash
# Trains: ./run.sh exper-NAME [--gpu 0] [--seed 1] [--resume logs/RUN] [--set key=value ...]
#     or: ./run.sh sweep-NAME [--gpu 0] [--list] [--set key=value ...]
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" >/dev/null && pwd)
source "$root/env.sh"

config=$(config_file experiments experiment "${1:-}")
shift
find_python
exec "$python" -m core.cli.launch "$config" "$@"
