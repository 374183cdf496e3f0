# Sourced by run.sh, eval.sh, plot.sh and test.sh after they set $root. Sets $python: the interpreter in use if it has the
# packages that setup.py lists, else that of .venv, which is made on first use.

fail() {
    echo "error: $1" >&2
    exit 1
}

# has_packages PYTHON [test]: whether it has what setup.py requires (with its extra, if one is named), new enough
has_packages() {
    "$1" - "$root/setup.py" "${2:-}" 2>/dev/null <<'PY'
import ast, re, sys
from importlib import metadata

call = next(n for n in ast.walk(ast.parse(open(sys.argv[1]).read()))
            if isinstance(n, ast.Call) and getattr(n.func, 'id', '') == 'setup')
given = {k.arg: k.value for k in call.keywords}
needed = ast.literal_eval(given['install_requires'])
needed += ast.literal_eval(given['extras_require']).get(sys.argv[2], [])
numbers = lambda text: [int(n) for n in re.findall(r'\d+', text)]
for requirement in needed:
    name, least = re.match(r'([\w.-]+)(?:\[.*\])?(?:>=([\d.]+))?$', requirement).groups()
    if numbers(metadata.version(name)) < numbers(least or ''):
        sys.exit(1)
PY
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

venv_is_complete() {
    [ "$(cat "$root/.venv/.complete" 2>/dev/null)" = "$(cksum <"$root/setup.py")" ] && "$root/.venv/bin/python" -c '' 2>/dev/null
}

# make_venv PYTHON: makes .venv from setup.py, unless another call just did
make_venv() {
    local venv="$root/.venv" log="$root/.venv-install.log" extras=test
    if command -v flock >/dev/null; then
        flock 9
        if venv_is_complete; then return; fi
    fi
    if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then extras=gpu,test; fi
    echo "Setting up $venv from setup.py, once; this takes a few minutes ..." >&2
    rm -rf "$venv"
    if ! "$1" -m venv "$venv" >"$log" 2>&1; then
        rm -rf "$venv"
        fail "Python's venv module does not work here; install it (Debian, Ubuntu: apt install python3-venv) and run this again; details are in $log"
    fi
    if ! "$venv/bin/python" -m pip install --disable-pip-version-check --retries 2 -e "$root[$extras]" >"$log" 2>&1; then
        fail "pip could not install what setup.py lists, is the network reachable? ($(grep -m 1 '^ERROR' "$log" || tail -n 1 "$log")); details are in $log"
    fi
    cksum <"$root/setup.py" >"$venv/.complete"  # last, so that an interrupted set-up is made again
}

# find_python [test]: sets $python
find_python() {
    local candidate
    # One that was not made here is taken as it is, if it has everything, and not made anew.
    if venv_is_complete || { [ ! -e "$root/.venv/.complete" ] && has_packages "$root/.venv/bin/python" "${1:-}"; }; then
        python="$root/.venv/bin/python"
        return
    fi
    for candidate in python3 python python3.13 python3.12 python3.11 python3.10; do
        supported "$candidate" || continue
        if has_packages "$candidate" "${1:-}"; then
            python=$candidate
        else
            (make_venv "$candidate") 9>"$root/.venv-install.lock"
            python="$root/.venv/bin/python"
        fi
        return
    done
    fail "TensorFlow needs Python 3.10 to 3.13, and there is none here ($(python3 --version 2>&1 | head -n 1)); install one and run this again"
}

# config_file FOLDER KIND NAME: prints the path of a config file: one that is named by its path, wherever it is, else that
# of this name in the folder; or fails with the names there are
config_file() {
    local name="${3##*/}" file
    if [ -f "$3" ] && [ "$3" != "${3%.py}" ]; then
        echo "$3"
        return
    fi
    file="$root/$1/${name%.py}.py"
    if [ -n "$name" ] && [ -f "$file" ]; then
        echo "$file"
        return
    fi
    if [ -n "$3" ]; then
        echo "error: there is no $2 '$3' in $1/; there are:" >&2
    else
        echo "usage: $0 NAME ${4:-}[--option value ...], where NAME is the path of a file, or one of:" >&2
    fi
    (cd "$root/$1" && printf '  %s\n' *.py | sed 's/\.py$//') >&2
    exit 1
}

export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
