// Package wire is LND's gRPC interface as far as an escrow needs it: messages
// generated from lnd.proto, and the paths of the nine methods.
//
// The messages are wire-compatible with LND's and registered under a name of
// ours. The package holds no logic.
package wire

//go:generate go -C ../../../tools/protogen run . ../../escrow/lnd/wire lnd.proto

import "google.golang.org/protobuf/proto"

// Paths of the methods, which are at the same time the names of the "uri"
// permissions that a baked macaroon grants.
const (
	GetInfo                = "/lnrpc.Lightning/GetInfo"
	AddHoldInvoice         = "/invoicesrpc.Invoices/AddHoldInvoice"
	SettleInvoice          = "/invoicesrpc.Invoices/SettleInvoice"
	CancelInvoice          = "/invoicesrpc.Invoices/CancelInvoice"
	SubscribeSingleInvoice = "/invoicesrpc.Invoices/SubscribeSingleInvoice"
	LookupInvoice          = "/invoicesrpc.Invoices/LookupInvoiceV2"
	ListInvoices           = "/lnrpc.Lightning/ListInvoices"
	SendPayment            = "/routerrpc.Router/SendPaymentV2"
	TrackPayment           = "/routerrpc.Router/TrackPaymentV2"
)

// Method is one method of LND: its path and its messages.
type Method struct {
	Path     string
	Request  proto.Message
	Response proto.Message
	Streams  bool // from the server
}

// Methods lists every method that this package knows, in a fixed order.
func Methods() []Method {
	return []Method{
		{Path: GetInfo, Request: &GetInfoRequest{}, Response: &GetInfoResponse{}},
		{Path: AddHoldInvoice, Request: &AddHoldInvoiceRequest{}, Response: &AddHoldInvoiceResp{}},
		{Path: LookupInvoice, Request: &LookupInvoiceMsg{}, Response: &Invoice{}},
		{Path: ListInvoices, Request: &ListInvoiceRequest{}, Response: &ListInvoiceResponse{}},
		{Path: SubscribeSingleInvoice, Request: &SubscribeSingleInvoiceRequest{}, Response: &Invoice{}, Streams: true},
		{Path: SettleInvoice, Request: &SettleInvoiceMsg{}, Response: &SettleInvoiceResp{}},
		{Path: CancelInvoice, Request: &CancelInvoiceMsg{}, Response: &CancelInvoiceResp{}},
		{Path: SendPayment, Request: &SendPaymentRequest{}, Response: &Payment{}, Streams: true},
		{Path: TrackPayment, Request: &TrackPaymentRequest{}, Response: &Payment{}, Streams: true},
	}
}
