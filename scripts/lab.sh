#!/bin/sh
# `npm run lab`: the small internet of network namespaces that the tests use, to walk around in. Needs root.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/runtime.sh
. "$root/scripts/runtime.sh"
exec "$(supported_node)" "$root/test/lab/main.ts" "$@"
