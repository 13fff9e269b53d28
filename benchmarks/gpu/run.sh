#!/usr/bin/env bash
# How fast on a GPU: everything in one call of under ten minutes, without a network.
#
#   bash benchmarks/gpu/run.sh                 # on a machine with a CUDA device; results in $OUT, or tailwise-out/gpu
#   bash benchmarks/gpu/run.sh --smoke         # whether all of it runs, as small as it can be, on any machine
#
# Needs torch 2.11 or later, torchvision, NumPy, Pillow, safetensors and msgspec. Where msgspec is missing it is installed for this call
# alone, from a wheel in tailwise-out/carried/; cifar100_lt100.npz is looked for there, then in ../shared.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
site=$made/site-packages # by that name it is an installed package, whose code is nobody's own
export PYTHONPATH="$PWD/src:$PWD/benchmarks/speed:$site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
if ! "$python" -c "import msgspec" 2>/dev/null; then
    "$python" -m pip install --quiet --no-index --no-deps --find-links tailwise-out/carried --target "$site" msgspec
fi
"$python" benchmarks/gpu/gpu.py "$@"
