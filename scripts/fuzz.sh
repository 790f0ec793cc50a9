#!/bin/sh
# `npm run fuzz -- [options]`: our parsers against millions of inputs (`--help` lists the options).
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/runtime.sh
. "$root/scripts/runtime.sh"
exec "$(supported_node)" "$root/test/fuzz/main.ts" "$@"
