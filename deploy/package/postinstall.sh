#!/bin/sh
# After the files are unpacked. A first installation starts nothing: the configuration comes first.
# An upgrade restarts a service that runs. Trades under way survive the restart.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
if systemctl is-active --quiet mostrodex; then
	systemctl restart mostrodex
elif ! systemctl is-enabled --quiet mostrodex; then
	echo "mostrodex: edit /etc/mostrodex/mostrodex.toml, then: systemctl enable --now mostrodex"
fi
