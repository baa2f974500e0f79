// Package wire is the part of LND's gRPC interface that an escrow needs: messages
// generated from lnd.proto, and the paths of the eleven methods.
//
// The messages are wire-compatible with LND's and are registered under a package name
// of their own. The package contains no logic.
package wire

//go:generate go -C ../../../tools/protogen run . ../../escrow/lnd/wire lnd.proto

import "google.golang.org/protobuf/proto"

// The paths of the methods. A path is also the name of the "uri" permission of a baked
// macaroon.
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
	ListPayments           = "/lnrpc.Lightning/ListPayments"
	ListChannels           = "/lnrpc.Lightning/ListChannels"
)

// Method is one method of LND: its path and its messages.
type Method struct {
	Path     string
	Request  proto.Message
	Response proto.Message
	Streams  bool // set if the server answers with a stream
	Optional bool // set if an escrow works without the permission
}

// Methods returns every method of this package, in a fixed order.
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
		{Path: ListPayments, Request: &ListPaymentsRequest{}, Response: &ListPaymentsResponse{}, Optional: true},
		{Path: ListChannels, Request: &ListChannelsRequest{}, Response: &ListChannelsResponse{}, Optional: true},
	}
}
