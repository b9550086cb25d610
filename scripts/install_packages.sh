#!/bin/sh
# Installs the Debian packages of packages.txt that are missing. Silent when there is nothing to do.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
wanted=$(sed 's/#.*//' "$root/packages.txt")

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "install_packages: this is not a Debian system; please install the equivalents of packages.txt yourself" >&2
  exit 0
fi

missing=
for package in $wanted; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=
  case $status in
    *not-installed* | '') missing="$missing $package" ;;
    installed*) ;;
    *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
  as_root=
elif command -v sudo >/dev/null 2>&1; then
  as_root=sudo
else
  echo "install_packages: these packages are missing, and installing them needs root or sudo:" >&2
  echo " $missing" >&2
  echo "install_packages: run as root: apt-get install --no-install-recommends$missing" >&2
  exit 1
fi

echo "install_packages: installing$missing" >&2
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
