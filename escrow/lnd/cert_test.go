package lnd_test

import "github.com/btcsuite/btcd/btcec/v2"

// testCert is a certificate whose private key is not known.
const testCert = `-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUDBX42sjJv++dXZ08+gBbeaStYLEwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjIxMzA4MTNaGA8yMTI2MTAyOTEzMDgx
M1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDfE
CQzjcGFWksf8Xz6zq3eBeDnCWXMWW4eQ1DXu6uHJgsR0Lc/n2pq46CVdgQG4Hbw6
f2WO81htXWqzTIIkW/ujUzBRMB0GA1UdDgQWBBQf60FMe4GCAskWZ40V/tranbTs
VDAfBgNVHSMEGDAWgBQf60FMe4GCAskWZ40V/tranbTsVDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIC/okLypwJVZfMsNQwLyfnOY3byfhOZp5jo4
3njJUOLhAiEA7hYHo/21vFaPDhbls8wVYOpCYGO+o/3r8K5yU/LiYTM=
-----END CERTIFICATE-----
`

// signer signs invoices for which no node exists.
var signer, _ = btcec.PrivKeyFromBytes([]byte{31: 1})
