#!/bin/sh
# npm packages, exactly as the lock says, and only when the lock is another than last time.
# The copy of the lock that was installed lies in node_modules; `npm ci` begins by removing both.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
installed=$root/node_modules/.installed-lock.json
if cmp -s "$root/package-lock.json" "$installed"; then exit 0; fi

# shellcheck source=scripts/runtime.sh
. "$root/scripts/runtime.sh"
node=$(supported_node)
writable_npm_cache
echo "gatehouse: installing npm packages" >&2
cd "$root"
PATH=$(dirname -- "$node"):$PATH npm ci --include=dev --ignore-scripts --no-audit --no-fund --no-update-notifier \
  --loglevel=error >/dev/null
cp package-lock.json "$installed"
