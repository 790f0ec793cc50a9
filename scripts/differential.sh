#!/bin/sh
# `npm run differential [-- RUNS]`: the same generated requests through the fast lane and the compat lane, 100,000 of them.
# A failure prints its seed; DIFFERENTIAL_SEED=… runs that one again.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/runtime.sh
. "$root/scripts/runtime.sh"
GATEHOUSE_NODE=$(supported_node)
DIFFERENTIAL_RUNS=${1:-100000}
export GATEHOUSE_NODE DIFFERENTIAL_RUNS
exec "$GATEHOUSE_NODE" --disable-warning=DEP0060 --test "$root/test/proxy/differential.test.ts"
