#!/bin/sh
# `npm run bench -- [options]`: build what needs building, then measure (bench/README.md; `--help` lists the options).
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/runtime.sh
. "$root/scripts/runtime.sh"
GATEHOUSE_NODE=$(supported_node)
export GATEHOUSE_NODE
sh "$root/scripts/build.sh"
exec "$GATEHOUSE_NODE" "$root/bench/main.ts" "$@"
