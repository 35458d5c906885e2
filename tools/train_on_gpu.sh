#!/usr/bin/env bash
# Train the encoder in a given time on a machine with a GPU, without internet access and without an installation before it.
#
#     tools/train_on_gpu.sh SECONDS OUT [NAME=VALUE ...]
#
# From the root of a source tree. Python needs torch, numba and opencv; what else is missing is installed from the folder
# $WHEELS (default: wheels/) into a virtual environment in OUT. The network files are taken from $HAND_RECON_MODEL_DIR
# (default: networks/; hand-recon models fetch --dest networks). All CPU cores but one render, the GPU trains; without a
# GPU a CPU core does. NAME=VALUE change the recipe config/train/encoder_small.yaml.
#
# OUT/result has encoder.onnx, the log, and the weights in parts of at most 15 MiB (cat encoder.safetensors.* joins them),
# from which another run starts with weights=FILE.
set -euo pipefail
shopt -s inherit_errexit

begin=$SECONDS
limit=${1:?SECONDS, the time for everything}
out=${2:?OUT, a folder}
shift 2
rm -rf "$out/result"
mkdir -p "$out/result"
out=$(cd "$out" && pwd)
wheels=${WHEELS:-wheels}
export HAND_RECON_MODEL_DIR=${HAND_RECON_MODEL_DIR:-$PWD/networks}
export PYTHONPATH=$PWD OMP_NUM_THREADS=1
python=${PYTHON:-python3}

missing() {
    "$python" - <<'PYTHON'
import importlib.util
names = {"openvino": "openvino", "onnx": "onnx", "yaml": "PyYAML", "tqdm": "tqdm", "safetensors": "safetensors",
         "accelerate": "accelerate", "tensorboard": "tensorboard", "scipy": "scipy", "skimage": "scikit-image"}
print(*(package for module, package in names.items() if importlib.util.find_spec(module) is None))
PYTHON
}

needed=$(missing)
if [ -n "$needed" ]; then
    "$python" -m venv --system-site-packages "$out/environment"
    python=$out/environment/bin/python
    # shellcheck disable=SC2086 # a list of packages
    "$python" -m pip install --quiet --no-index --find-links "$wheels" $needed
fi

workers=$(($(nproc) > 1 ? $(nproc) - 1 : 1))
precision=$("$python" -c 'import torch; print("bf16" if torch.cuda.is_available() else "fp32")')
# The start, validation, export and copies take time beside the steps.
spent=$((SECONDS - begin))
rest=$(((limit - spent) * 4 / 5 - 6))
if [ "$rest" -lt 1 ]; then
    echo "$limit s are too few" >&2
    exit 2
fi
rm -rf "$out/checkpoint" # of an earlier run
status=0
set -- "${@/#/--set=}"
timeout --signal=INT "$((limit - spent - 2))" "$python" -m hand_recon_ros.cli train encoder \
    --config config/train/encoder_small.yaml --set "out=$out/checkpoint" --set "seconds=$rest" \
    --set "workers=$workers" --set "precision=$precision" --set "cache=$out/cache" --set steps=100000 "$@" --json \
    > "$out/result/report.json" 2> >(tail -c 20000 > "$out/result/log.txt") || status=$?

if [ -f "$out/checkpoint/encoder.safetensors" ]; then # also of a training that was stopped
    split --bytes=15M --numeric-suffixes "$out/checkpoint/encoder.safetensors" "$out/result/encoder.safetensors."
fi
if [ -f "$out/checkpoint/encoder.onnx" ]; then
    cp "$out/checkpoint/encoder.onnx" "$out/result/"
fi
ls -l "$out/result"
echo "$((SECONDS - begin)) of $limit s, status $status"
exit "$status"
