#!/bin/sh
# After the files are removed. The data, the keys and the user stay, also when the package is
# purged: /var/lib/mostrodex holds money while trades are open.
set -e
case ${1:-} in upgrade | 1) exit 0 ;; esac
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
