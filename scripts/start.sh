#!/bin/sh
# `npm start`: build what needs building, then become Gatehouse. Further arguments go to `gatehouse run`.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/runtime.sh
. "$root/scripts/runtime.sh"
GATEHOUSE_NODE=$(supported_node)
export GATEHOUSE_NODE
sh "$root/scripts/build.sh"
cd "$root"
exec "$root/bin/gatehouse" run --config config/gatehouse.yaml "$@"
