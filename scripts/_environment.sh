# Sourced by scripts/demo and scripts/test: finds a Python, brings .venv up to date and puts it first on PATH.
# Needs Python 3.10, 3.11 or 3.12 and nothing else; PYTHON=... names the interpreter to use.

project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "No Python 3.10, 3.11 or 3.12 was found (python3 is $(python3 --version 2>&1 || true))." >&2
    echo "Install one ('apt-get install python3.12', or 'uv python install 3.12') or name it: PYTHON=/path/to/python3.12 $0" >&2
    return 1
}

prepare_environment() { # arguments: the lock files to install, in order
    local python
    python="$(find_python)" || exit 1
    "$python" "$project/scripts/prepare_environment.py" "$@" || exit 1
    export PATH="$project/.venv/bin:$PATH"
    export VIRTUAL_ENV="$project/.venv"
    unset PYTHONHOME PYTHONPATH
}
