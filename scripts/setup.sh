# Sourced by the other scripts: installs what Baton is built from (Debian packages) and builds build/baton. Says what it does.

baton_packages=(
  g++ cmake ninja-build pkg-config ccache git ca-certificates curl python3
  libboost1.81-dev nlohmann-json3-dev libcli11-dev libtomlplusplus-dev catch2
  libcurl4-openssl-dev libpcre2-dev libicu-dev libxxhash-dev libssl-dev prometheus-cpp-dev libucx-dev libc-ares-dev
)
# What only tests use: network namespaces, certificates, Prometheus' own checker, UCX's perftest, and an etcd to find each other by.
baton_test_packages=(iproute2 openssl prometheus ucx-utils etcd-server)

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# install_packages NAME...: those that are missing, with apt-get, as root or through sudo.
install_packages() {
  local missing=() name
  command -v dpkg-query >/dev/null || die "this script installs Debian packages, and dpkg is not here. Install by hand: $*"
  for name in "$@"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$name")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing and installing them needs root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "Installing ${#missing[@]} packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq || die "apt-get update failed: is there a network, and is /etc/apt set up?"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/tmp/baton-apt.log 2>&1 || {
    tail -n 5 /tmp/baton-apt.log >&2
    die "apt-get could not install them (whole log: /tmp/baton-apt.log)"
  }
}

# The CUDA compiler, or nothing.
find_nvcc() {
  [ "${CUDA:-}" != off ] || return 0
  command -v nvcc || ! [ -x /usr/local/cuda/bin/nvcc ] || echo /usr/local/cuda/bin/nvcc
}

# What to build kernels for: this machine's GPU, or else Hopper.
cuda_architectures() {
  local capability=''
  if command -v nvidia-smi >/dev/null; then
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -dc 0-9)
  fi
  echo "${BATON_CUDA_ARCHITECTURES:-${capability:-90a}}"
}

# build_baton [CMAKE_ARGUMENT...]: configures the release preset and builds everything.
build_baton() {
  local jobs memory_gib
  memory_gib=$(($(awk '/MemAvailable/ {print $2}' /proc/meminfo) / 1048576))
  jobs=$(nproc)
  # One compilation may take 1.5 GiB: fewer at once where memory is short.
  if [ $((memory_gib * 2 / 3)) -lt "$jobs" ]; then jobs=$((memory_gib * 2 / 3)); fi
  if [ "$jobs" -lt 1 ]; then jobs=1; fi
  local cuda=(-DBATON_CUDA=OFF)
  if [ -n "$(find_nvcc)" ]; then
    say "nvcc is here: the CUDA backend is built too (CUDA=off leaves it out)"
    cuda=(-DBATON_CUDA=ON "-DCMAKE_CUDA_COMPILER=$(find_nvcc)" "-DBATON_CUDA_ARCHITECTURES=$(cuda_architectures)")
  fi
  say "Building with $jobs jobs (the first time takes some minutes, later ones seconds)"
  cmake --preset release "${cuda[@]}" "$@" >/tmp/baton-configure.log 2>&1 || {
    tail -n 20 /tmp/baton-configure.log >&2
    die "cmake could not configure (whole log: /tmp/baton-configure.log)"
  }
  : >build/build.log
  cmake --build build -j "$jobs" >build/build.log 2>&1 &
  local builder=$!
  show_build_progress "$builder"
  wait "$builder" || {
    grep -E 'error|FAILED' build/build.log | head -n 20 >&2
    die "the build failed (whole log: build/build.log)"
  }
}

# Ninja's own [done/total], as a bar on a terminal, as a line now and then elsewhere.
show_build_progress() {
  local last='' step
  while kill -0 "$1" 2>/dev/null; do
    step=$(grep -oE '^\[[0-9]+/[0-9]+\]' build/build.log 2>/dev/null | tail -n 1 || true)
    if [ -n "$step" ] && [ "$step" != "$last" ]; then
      if [ -t 1 ]; then
        local done_steps=${step#[} total filled
        total=${done_steps#*/}
        total=${total%]}
        done_steps=${done_steps%/*}
        filled=$((done_steps * 40 / total))
        printf '\r  [%-40s] %s' "$(printf '%*s' "$filled" '' | tr ' ' '#')" "$done_steps/$total"
      fi
      last=$step
    fi
    sleep 0.5
  done
  if [ -t 1 ]; then printf '\r%60s\r' ''; else printf '    built %s\n' "${last:-nothing new}"; fi
}
