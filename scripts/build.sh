#!/bin/sh
# From whatever is here to a dist/ that matches src/. Quiet when there is nothing to do.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/runtime.sh
. "$root/scripts/runtime.sh"
node=$(supported_node)
GATEHOUSE_NODE=$node sh "$root/scripts/install.sh"
exec "$node" "$root/scripts/emit.ts"
