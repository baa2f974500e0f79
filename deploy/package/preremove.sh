#!/bin/sh
# Before the files are removed. An upgrade ("upgrade" on Debian, 1 with rpm) leaves the service
# alone, because postinstall.sh restarts it.
set -e
case ${1:-} in upgrade | 1) exit 0 ;; esac
[ -d /run/systemd/system ] || exit 0
systemctl disable --now mostrodex || true
