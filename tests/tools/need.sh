#!/usr/bin/env bash
# need.sh TARGET COMMAND:PACKAGE ...: what a make target needs. Installs through apt what is missing, or names it in one line and fails.
# A COMMAND of the form `py-MODULE` is a Python module.
set -u
target=$1; shift
have() {
  case $1 in
    py-*) python3 -c "import ${1#py-}" 2>/dev/null || /usr/bin/python3 -c "import ${1#py-}" 2>/dev/null ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
  esac
}
missing() { for pair in "$@"; do have "${pair%%:*}" || printf '%s ' "${pair#*:}"; done; }
want=$(missing "$@"); want=${want% }
[ -z "$want" ] && exit 0
sudo=; [ "$(id -u)" = 0 ] || sudo="sudo -n"
if command -v apt-get >/dev/null && { [ -z "$sudo" ] || sudo -n true 2>/dev/null; }; then
  echo "make $target: installing $want" >&2
  # shellcheck disable=SC2086
  { $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $want; } >&2
fi
left=$(missing "$@"); left=${left% }
[ -z "$left" ] && exit 0
echo "make $target needs: $left (apt-get install $left)" >&2
exit 1
