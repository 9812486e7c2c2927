# What the scripts share. Sourced, not run: `. "$(dirname "$0")/lib.sh"`.

readonly SCRIPT=${0##*/}

say() { printf '%s: %s\n' "$SCRIPT" "$*"; }
die() { printf '%s: error: %s\n' "$SCRIPT" "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "this needs root, and there is no sudo; as root, run: $*"
  fi
}
