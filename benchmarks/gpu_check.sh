#!/usr/bin/env bash
# What can be known in six minutes of a machine with a GPU that has no network and no Artesian: the benchmark of
# gpu.py, and the tests of what computes on the device. WHEELS is a folder of the wheels that its Python lacks.
#
#     benchmarks/gpu_check.sh WHEELS OUT [COMMIT] [BUDGET]
#
# In OUT: gpu.jsonl, tests.txt, and logs.tgz, what each part printed. It needs no git, and changes nothing beside OUT and /tmp.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wheels=$(realpath "$1") out=$(realpath "$2") commit=${3:-unknown} budget=${4:-20s}
site=$(mktemp -d /tmp/artesian-site-XXXX) scratch=$(mktemp -d /tmp/artesian-gpu-XXXX)
mkdir -p "$out/logs"

python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl || exit
export PYTHONPATH="$PWD:$site" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_CONFIG_HOME="$scratch/config"
echo "installed after $SECONDS s"

measure() { # SECONDS PART ...
	timeout -k 5 "$1" python3 benchmarks/gpu.py --out "$out/gpu.jsonl" --commit "$commit" --budget "$budget" \
		--scratch "$scratch" --only "${@:2}" || echo "benchmarks/gpu.py ${*:2}: status $?"
	cp "$scratch"/*.log "$out/logs/"
	echo "${*:2} after $SECONDS s"
}

measure 240 device diffusion sampling steps
timeout -k 5 90 python3 -m pytest -q -p no:cacheprovider -n 8 tests/generators tests/test_sampling.py \
	tests/training/test_sharding.py > "$out/tests.txt" 2>&1
echo "tests: status $?, after $SECONDS s: $(tail -n 1 "$out/tests.txt")"
grep -E '^(FAILED|ERROR)' "$out/tests.txt" | cut -c1-300 | head -n 20
measure 230 gan vae same images
tar -czf "$out/logs.tgz" -C "$out" logs && rm -r "$out/logs"
