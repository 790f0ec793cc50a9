#!/bin/sh
# `npm run soak -- [--minutes N]`: N minutes (15) of mixed traffic with aborts and reloads against the whole program.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=scripts/runtime.sh
. "$root/scripts/runtime.sh"
minutes=15
case ${1-} in
  "") ;;
  --minutes) minutes=${2-} ;;
  *) minutes= ;;
esac
case $minutes in
  "" | *[!0-9]*)
    echo "usage: npm run soak -- [--minutes N]" >&2
    exit 64
    ;;
esac
export GATEHOUSE_SOAK_SECONDS=$((minutes * 60))
exec "$(supported_node)" --disable-warning=DEP0060 --test "$root/test/soak/soak.test.ts"
