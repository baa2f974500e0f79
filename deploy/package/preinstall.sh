#!/bin/sh
# Before the files are unpacked: the user of the service.
set -e
if ! getent passwd mostrodex >/dev/null; then
	nologin=/usr/sbin/nologin
	[ -x $nologin ] || nologin=/sbin/nologin
	useradd --system --user-group --home-dir /var/lib/mostrodex --shell $nologin mostrodex
fi
