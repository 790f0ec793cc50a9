#!/bin/sh
# Which Node runs Gatehouse? Called: prints the path of a supported one, fetching it once if need be.
# Sourced (with $root set): gives the functions below, and nothing else happens.
#
# The order: $GATEHOUSE_NODE as it is · the machine's `node`, if package.json's engines allow it · .runtime/.

# A value of package.json by its key; both keys read here stand alone on their line.
manifest() {
  sed -n "s/^ *\"$1\": *\"\(.*\)\",\{0,1\}\$/\1/p" "$root/package.json" | tail -n 1
}

# at_least 24.21.0 24.18.1: is the first version the second one or newer?
at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1)" = "$2" ]
}

# satisfies 24.21.0 '^22.23.2 || ^24.18.1 || >=26.5.1': those two kinds of range, and no pre-releases.
satisfies() {
  case $1 in
    '' | *[!0-9.]*) return 1 ;;
  esac
  for range in $(printf '%s\n' "$2" | tr -d '|'); do
    lowest=${range#[\^>]}
    lowest=${lowest#=}
    case $range in
      '^'*) [ "${1%%.*}" = "${lowest%%.*}" ] || continue ;;
    esac
    if at_least "$1" "$lowest"; then return 0; fi
  done
  return 1
}

# The npm package that carries Node's binary for this machine.
runtime_package() {
  case $(uname -s) in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    *) os='' ;;
  esac
  case $(uname -m) in
    x86_64 | amd64) arch=x64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) arch='' ;;
  esac
  if [ -z "$os" ] || [ -z "$arch" ]; then
    echo "gatehouse: there is no ready-made Node for $(uname -sm); install one of $(manifest node) and put it on PATH" >&2
    return 69
  fi
  echo "node-$os-$arch"
}

# Quiet even about a binary that crashes.
version_of() {
  ("$1" -v || :) 2>/dev/null
}

# npm keeps its cache in HOME; where that cannot be written, it goes beside the runtime.
writable_npm_cache() {
  cache=${npm_config_cache:-${HOME:-/nonexistent}/.npm}
  if ! { mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null; then
    npm_config_cache=$root/.cache/npm
    export npm_config_cache
  fi
}

# Everything is made elsewhere and moved in with one rename, so what stands under .runtime/node_modules is whole.
fetch_runtime() {
  package=$1 version=$2 target=$root/.runtime/node_modules/$1
  fresh=$root/.runtime/fetch.$$
  echo "gatehouse: fetching Node $version (once)" >&2
  writable_npm_cache
  mkdir -p "$fresh" "$root/.runtime/node_modules"
  if ! npm install --prefix "$fresh" --no-save --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error \
    "$package@$version" >/dev/null || [ "$(version_of "$fresh/node_modules/$package/bin/node")" != "v$version" ]; then
    rm -rf "$fresh"
    echo "gatehouse: Node $version could not be fetched from npm; install one of $(manifest node), or set GATEHOUSE_NODE" >&2
    return 69
  fi
  rm -rf "$target"
  mv "$fresh/node_modules/$package" "$target"
  rm -rf "$fresh"
}

supported_node() {
  if [ -n "${GATEHOUSE_NODE:-}" ]; then
    if command -v "$GATEHOUSE_NODE"; then return 0; fi
    echo "gatehouse: GATEHOUSE_NODE is $GATEHOUSE_NODE, and that is not a program" >&2
    return 69
  fi
  version=$(version_of node)
  if satisfies "${version#v}" "$(manifest node)"; then
    command -v node
    return 0
  fi
  package=$(runtime_package) || return
  version=$(manifest runtime)
  binary=$root/.runtime/node_modules/$package/bin/node
  if [ "$(version_of "$binary")" != "v$version" ]; then
    fetch_runtime "$package" "$version" || return
  fi
  echo "$binary"
}

case ${0##*/} in
  runtime.sh)
    set -eu
    root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
    supported_node
    ;;
esac
