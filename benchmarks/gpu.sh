#!/usr/bin/env bash
# What a run takes on this machine's GPU at a 7B model's full shape, beside what the plan says.
#
#   benchmarks/gpu.sh [FOLDER] [OPTIONS of benchmarks/gpu.py]
#
# FOLDER gets gpu.md, the table for docs/benchmarks.md, and the log; by default it is $OUT, or
# runs/gpu. What the steps leave on the way, a GB with the run, is kept in $SCRATCH, by default
# a folder of its own under $TMPDIR: a second call does the steps that the first did not.
#
# The environment is $PYTHON if it is set, else .venv, which is made if need be. All steps together
# take at most $LIMIT seconds, by default 600. The status is 0 if every step has a result.
# Without a GPU the same steps run at a narrow shape, to show that they work.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd) || exit 2

folder=${OUT:-$root/runs/gpu}
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    folder=$1
    shift
fi
scratch=${SCRATCH:-${TMPDIR:-/tmp}/mechshift-gpu}
# Both may be given from where one stands.
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
case $scratch in /*) ;; *) scratch=$PWD/$scratch ;; esac
cd "$root" || exit 2
limit=${LIMIT:-600}
mkdir -p "$folder" "$scratch" || exit 2

if [ -z "${PYTHON:-}" ]; then
    [ -x .venv/bin/python ] || make .venv/.installed-for-runs || exit 2
    PYTHON=.venv/bin/python
fi
export PYTHONPATH="src:benchmarks${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if ! missing=$("$PYTHON" -c 'import mechshift.run, scipy' 2>&1); then
    echo "gpu.sh: $PYTHON cannot import mechshift: ${missing##*$'\n'}" >&2
    exit 2
fi

echo "gpu.sh: at most $limit s, $scratch -> $folder"
# What is killed, by the limit or for its memory, leaves the steps before it: their table is made.
timeout --kill-after=10 "$limit" \
    "$PYTHON" benchmarks/gpu.py --folder "$scratch" "$@" 2>&1 | tee "$folder/gpu.log"
status=$?
if [ "$status" -gt 1 ]; then
    echo "gpu.sh: ended with status $status (124: $limit s were not enough)" | tee -a "$folder/gpu.log"
    "$PYTHON" benchmarks/gpu.py --folder "$scratch" --only-table "$@"
    status=1
fi
cp "$scratch/gpu.md" "$folder/gpu.md" || status=1
exit "$status"
