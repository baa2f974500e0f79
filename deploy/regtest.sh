#!/bin/sh
# Gives the nodes of compose.regtest.yml coins and a channel in each direction. It may run again.
set -eu
cd "$(dirname "$0")"
dc() { docker compose -f compose.regtest.yml "$@"; }
btc() { dc exec -T bitcoind bitcoin-cli -regtest -rpcuser=regtest -rpcpassword=regtest "$@"; }
ln() { # ln NODE ARGS...
	node=$1
	shift
	dc exec -T "$node" lncli --network regtest "$@"
}
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",]*\).*/\1/p" | head -1; }

btc createwallet miner >/dev/null 2>&1 || btc loadwallet miner >/dev/null 2>&1 || true
miner=$(btc getnewaddress)
btc generatetoaddress 101 "$miner" >/dev/null
for node in alice bob; do
	until ln "$node" getinfo >/dev/null 2>&1; do sleep 1; done
	btc sendtoaddress "$(ln "$node" newaddress p2wkh | field address)" 1 >/dev/null
done
btc generatetoaddress 6 "$miner" >/dev/null
synced() { ln "$1" getinfo | grep -q '"synced_to_chain": *true'; }
for node in alice bob; do until synced $node; do sleep 1; done; done

alice=$(ln alice getinfo | field identity_pubkey)
ln bob connect "$alice@alice:9735" >/dev/null 2>&1 || true
# Half of the channel is pushed to the other side, so that sats can move in both directions.
ln bob openchannel --node_key "$alice" --local_amt 10000000 --push_amt 5000000 >/dev/null
btc generatetoaddress 6 "$miner" >/dev/null
until ln bob listchannels --active_only | grep -q '"active": *true'; do sleep 1; done
echo "bob has a channel of 10,000,000 sats with alice, half on each side"
