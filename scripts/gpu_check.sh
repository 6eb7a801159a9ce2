#!/usr/bin/env bash
# Builds and runs the GPU tests and the GPU benchmark on a machine with an NVIDIA GPU, nvcc, CMake and a C++20 compiler; nothing else
# is needed but the headers of nlohmann/json and xxHash (packages, or a folder named in BATON_HEADERS). Prints the tests' results and one
# table with the copy bandwidth and the matrix rate of the same run as ceilings.
#   scripts/gpu_check.sh [--tests | --bench] [arguments of baton_gpu_bench ...]
# BATON_CUDA_ARCHITECTURES (default: this machine's), BATON_TEST_DATA (optional models, see test/support/test_data.hpp) and BUILD (default
# build-gpu) may be set. With PyTorch at hand, the same shapes through PyTorch are measured beside ours.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

tests=1 bench=1
case ${1:-} in
  --tests) bench=0; shift ;;
  --bench) tests=0; shift ;;
esac
nvcc=$(find_nvcc)
[ -n "$nvcc" ] || { say "No nvcc: install the CUDA toolkit, or put its bin folder on PATH"; exit 1; }
command -v cmake >/dev/null || { say "No cmake"; exit 1; }
command -v nvidia-smi >/dev/null || { say "No nvidia-smi: this machine has no NVIDIA driver"; exit 1; }
architectures=$(cuda_architectures) build=${BUILD:-build-gpu}

say "Building for compute capability $architectures in $build"
cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DBATON_CUDA=ON -DBATON_ENGINE_ONLY=ON -DBATON_CUDA_ARCHITECTURES="$architectures" \
  -DCMAKE_CUDA_COMPILER="$nvcc" ${BATON_HEADERS:+-DBATON_HEADERS="$BATON_HEADERS"} >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" -j "$(nproc)" >>"$build.log" 2>&1 || { tail -40 "$build.log"; exit 1; }

export BATON_SOURCE_DIR=$PWD
if [ $tests = 1 ]; then
  say "Tests"
  "$build/test/gpu/baton_gpu_tests"
fi
if [ $bench = 1 ]; then
  say "Benchmark"
  "$build/test/gpu/baton_gpu_bench" "$@"
  if python3 -c 'import torch' 2>/dev/null; then
    say "The same shapes through PyTorch"
    python3 test/gpu/torch_peer.py
  fi
fi
