#!/usr/bin/env bash
# From a bare Debian 12 to an answered chat request: installs what Baton needs, builds it, starts one prefill and one decode daemon with the bundled
# model, asks a question over HTTP and shows where the KV-cache blocks went.
#   scripts/quickstart.sh [--once] [--port N] [QUESTION]
#   --once    stop the daemons after the answer (otherwise they run until Ctrl-C)
#   --port N  HTTP ports N (prefill) and N+1 (decode); without it free ones are picked
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

once=false
port=''
question='What is disaggregated serving?'
while [ $# -gt 0 ]; do
  case $1 in
    --once) once=true ;;
    --port) port=${2:?--port needs a number}; shift ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) die "unknown option $1 (try --help)" ;;
    *) question=$1 ;;
  esac
  shift
done

install_packages "${baton_packages[@]}"
build_baton -DBATON_TESTS=OFF

read -r http_prefill http_decode peer_prefill peer_decode < <(python3 scripts/free_ports.py 4)
if [ -n "$port" ]; then
  http_prefill=$port
  http_decode=$((port + 1))
  python3 scripts/free_ports.py --check "$http_prefill" "$http_decode" || exit 1
fi

logs=$(mktemp -d /tmp/baton-quickstart.XXXXXX)
pids=()
finish() {
  if [ ${#pids[@]} -gt 0 ]; then
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# start NAME ROLE HTTP_PORT PEER_PORT [PEER...]
start() {
  local name=$1 role=$2 http=$3 peer=$4
  shift 4
  build/baton serve --role "$role" --node-name "$name" --port "$http" --peer-listen "127.0.0.1:$peer" "$@" 2>"$logs/$name.log" &
  pids+=($!)
}
say "Starting two daemons: prefill on port $http_prefill, decode on port $http_decode (logs in $logs)"
start prefill prefill "$http_prefill" "$peer_prefill"
start decode decode "$http_decode" "$peer_decode" --peer "127.0.0.1:$peer_prefill"
for name in prefill decode; do
  if [ "$name" = prefill ]; then http=$http_prefill; else http=$http_decode; fi
  for attempt in $(seq 1 150); do
    if curl -sf -o /dev/null "http://127.0.0.1:$http/health/ready"; then break; fi
    for pid in "${pids[@]}"; do
      kill -0 "$pid" 2>/dev/null || { tail -n 5 "$logs"/*.log >&2; die "a daemon did not start (logs above)"; }
    done
    [ "$attempt" -lt 150 ] || { tail -n 5 "$logs"/*.log >&2; die "the daemons were not ready in 30 s (logs above)"; }
    sleep 0.2
  done
done

say "Asking over http://127.0.0.1:$http_prefill/v1/chat/completions"
python3 scripts/ask.py "http://127.0.0.1:$http_prefill" "$question"
if $once; then exit 0; fi
cat <<EOF

Both daemons run until Ctrl-C. Any of them takes requests:
  curl -N http://127.0.0.1:$http_decode/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"messages": [{"role": "user", "content": "What is Baton?"}], "temperature": 0, "stream": true}'
  curl -s http://127.0.0.1:$http_prefill/cluster
  curl -s http://127.0.0.1:$http_decode/metrics | grep baton_
EOF
wait
