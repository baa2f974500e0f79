//! Reads one JSON request per line and writes one JSON object per line. All operations
//! are mostro-core's own: parse, serialise, verify, wrap, unwrap, chat.

use std::io::{BufRead, Write};

use mostro_core::chat;
use mostro_core::message::Message;
use mostro_core::nip59::WrapOptions;
use mostro_core::transport::{unwrap_incoming, wrap_message_with, Transport};
use nostr_sdk::prelude::*;
use serde_json::{json, Value};

type Answer = Result<Value, String>;

fn text<'a>(request: &'a Value, name: &str) -> Result<&'a str, String> {
    request[name].as_str().ok_or(format!("no {name}"))
}

fn keys(request: &Value, name: &str) -> Result<Keys, String> {
    Keys::parse(text(request, name)?).map_err(|e| e.to_string())
}

fn pubkey(request: &Value, name: &str) -> Result<PublicKey, String> {
    PublicKey::from_hex(text(request, name)?).map_err(|e| e.to_string())
}

fn event(request: &Value) -> Result<Event, String> {
    Event::from_json(request["event"].to_string()).map_err(|e| e.to_string())
}

fn out(event: &Event) -> Answer {
    let value: Value = serde_json::from_str(&event.as_json()).map_err(|e| e.to_string())?;
    Ok(json!({ "event": value }))
}

/// Returns the canonical bytes of a message after serde, and the result of verify().
fn echo(request: &Value) -> Answer {
    let message = Message::from_json(text(request, "message")?).map_err(|e| e.to_string())?;
    let canonical = message.as_json().map_err(|e| e.to_string())?;
    Ok(json!({ "message": canonical, "verify": message.verify() }))
}

#[allow(deprecated)]
async fn seal(request: &Value) -> Answer {
    let transport = match text(request, "transport")? {
        "v1" => Transport::GiftWrap,
        _ => Transport::Nip44Direct,
    };
    let message = Message::from_json(text(request, "message")?).map_err(|e| e.to_string())?;
    let options = WrapOptions {
        pow: request["pow"].as_u64().unwrap_or(0) as u8,
        expiration: request["expiration"].as_u64().map(Timestamp::from_secs),
        signed: request["signed"].as_bool().unwrap_or(true),
    };
    let trade = keys(request, "trade")?;
    let identity = keys(request, "identity")?;
    let sealed = wrap_message_with(transport, &message, &identity, &trade, pubkey(request, "to")?, options).await;
    out(&sealed.map_err(|e| e.to_string())?)
}

async fn open(request: &Value) -> Answer {
    let opened = unwrap_incoming(&event(request)?, &keys(request, "key")?).await;
    let opened = opened.map_err(|e| e.to_string())?.ok_or("not for this key")?;
    Ok(json!({
        "message": opened.message.as_json().map_err(|e| e.to_string())?,
        "sender": opened.sender.to_hex(),
        "identity": opened.identity.to_hex(),
        "signed": opened.signature.is_some(),
        "created_at": opened.created_at.as_secs(),
    }))
}

async fn chat_seal(request: &Value) -> Answer {
    let own = keys(request, "key")?;
    let peer = pubkey(request, "peer")?;
    let words = text(request, "text")?;
    let sealed = if request["old"].as_bool().unwrap_or(false) {
        let shared = chat::SharedKey::derive(own.secret_key(), &peer).map_err(|e| e.to_string())?;
        chat::wrap_giftwrap_chat_message(&own, &shared.public_key(), words).await
    } else {
        let (conv, sign) = chat::derive_chat_keys(&own, &peer).map_err(|e| e.to_string())?;
        chat::wrap_chat_message(&own, &conv, &sign, words).await
    };
    out(&sealed.map_err(|e| e.to_string())?)
}

fn chat_open(request: &Value) -> Answer {
    let own = keys(request, "key")?;
    let peer = pubkey(request, "peer")?;
    let (conv, sign) = chat::derive_chat_keys(&own, &peer).map_err(|e| e.to_string())?;
    let parties = [own.public_key(), peer];
    let opened = chat::unwrap_chat_message(&conv, &sign.public_key(), &parties, &event(request)?, Timestamp::now());
    let opened = opened.map_err(|e| e.to_string())?;
    Ok(json!({ "text": opened.content, "sender": opened.sender.to_hex() }))
}

async fn answer(line: &str) -> Answer {
    let request: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    match text(&request, "op")? {
        "echo" => echo(&request),
        "seal" => seal(&request).await,
        "open" => open(&request).await,
        "chat-seal" => chat_seal(&request).await,
        "chat-open" => chat_open(&request),
        other => Err(format!("unknown op {other}")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let reply = answer(&line).await.unwrap_or_else(|error| json!({ "error": error }));
        if writeln!(stdout, "{reply}").and_then(|()| stdout.flush()).is_err() {
            return;
        }
    }
}
