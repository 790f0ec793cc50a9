#!/bin/sh
# `npm test`: everything that can say no, in order. `npm test -- PATTERN…`: only the test files whose path contains one.
# CI=true as root makes a test that was skipped for a missing Debian package a failure (scripts/test-reporter.ts).
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
# shellcheck source=scripts/runtime.sh
. "$root/scripts/runtime.sh"

step() {
  printf '\n== %s\n' "$1"
}

missing_debian_packages() {
  sed 's/#.*//' scripts/debian-packages.txt | while read -r name; do
    [ -n "$name" ] || continue
    # shellcheck disable=SC2016 # dpkg-query's own variable
    status=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) || status=none
    [ "$status" = installed ] || printf '%s ' "$name"
  done
}

# Servers among them must not start: 101 from policy-rc.d is Debian's word for that.
install_debian_packages() {
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
  fi
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # a list of names
  if ! { apt-get -qq update && apt-get -qq -y --no-install-recommends install $1; } >/dev/null; then
    echo "gatehouse: apt could not install $1; tests that need them are skipped" >&2
  fi
}

step "Debian packages"
if command -v dpkg-query >/dev/null; then
  missing=$(missing_debian_packages)
  if [ -z "$missing" ]; then
    echo "all there"
  elif [ "$(id -u)" = 0 ]; then
    echo "installing $missing"
    install_debian_packages "$missing"
  else
    echo "some tests will be skipped; to run them: sudo apt install --no-install-recommends $missing"
  fi
else
  echo "not a Debian machine: tests that need Debian's programs are skipped"
fi

step "Build"
GATEHOUSE_NODE=$(supported_node)
export GATEHOUSE_NODE
PATH=$(dirname -- "$GATEHOUSE_NODE"):$PATH
export PATH
built=0
sh scripts/build.sh || built=$?

failed=
judge() {
  step "$1"
  shift
  "$@" || failed=yes
}

if [ $# -eq 0 ]; then
  judge "Types" node_modules/.bin/tsc -p tsconfig.test.json
  judge "Lint" node_modules/.bin/oxlint --type-aware --tsconfig tsconfig.test.json
  judge "Format" node_modules/.bin/prettier --check --log-level warn '**/*.{ts,md,yaml,yml,json}'
  judge "Unused files, exports and dependencies" node_modules/.bin/knip --no-progress
  if command -v shellcheck >/dev/null; then
    judge "Shell scripts" shellcheck -x bin/gatehouse scripts/*.sh .ci/run
  fi
fi
if [ "$built" -ne 0 ] || [ -n "$failed" ]; then
  printf '\ngatehouse: the steps above found something; tests were not run\n' >&2
  exit 1
fi

# A short file's time is half Node reading TypeScript: what one process has read serves the next.
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE:-$root/.runtime/compiled}"

step "Tests"
chosen=$(
  find test -name '*.test.ts' | sort | while read -r file; do
    [ $# -gt 0 ] || echo "$file"
    for pattern in "$@"; do
      case $file in
        *"${pattern#./}"*) echo "$file" && break ;;
      esac
    done
  done
)
if [ -z "$chosen" ]; then
  echo "gatehouse: no test file matches $*" >&2
  exit 64
fi
# shellcheck disable=SC2086 # a list of paths without blanks
exec node --disable-warning=DEP0060 --test --test-concurrency=2 --test-timeout=180000 \
  --test-reporter=./scripts/test-reporter.ts --test-reporter-destination=stdout $chosen
