#!/usr/bin/env bash
# Installs what Baton needs, builds it and runs every test. Ends with ctest's summary.
#   scripts/test.sh [--full] [--require KINDS]
#   --full           also the long tests
#   --require KINDS  fail if tests were skipped for want of these (comma-separated: shared, root, python)
# Tests that need the optional test data look for it in BATON_TEST_DATA, or ../shared beside this checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

selection=(-LE long)
required=''
while [ $# -gt 0 ]; do
  case $1 in
    --full) selection=() ;;
    --require) required=${2:?--require needs a list}; shift ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown option $1 (try --help)" ;;
  esac
  shift
done

install_packages "${baton_packages[@]}" "${baton_test_packages[@]}"
build_baton -DBATON_TESTS=ON
say "Running the tests"
status=0
ctest --test-dir build --output-on-failure --timeout 600 "${selection[@]}" 2>&1 | tee build/ctest.log || status=$?

log=build/Testing/Temporary/LastTest.log
skipped=$(grep -oE 'BATON-SKIPPED\[[a-z]+\].*' "$log" | sort || true)
if [ -n "$skipped" ]; then
  say "$(wc -l <<<"$skipped") checks were skipped for want of something:"
  sed 's/BATON-SKIPPED\[\([a-z]*\)\] /    needs \1: /' <<<"$skipped"
else
  say "No check was skipped"
fi
for kind in ${required//,/ }; do
  if grep -q "BATON-SKIPPED\[$kind\]" <<<"$skipped"; then
    printf 'error: checks that need %s were skipped, and here they must run\n' "$kind" >&2
    status=1
  fi
done
# ctest's own summary once more, so that it stands last.
sed -n '/tests passed\|tests failed/,$p' build/ctest.log
exit "$status"
