//! Reads one JSON request per line and writes one JSON object per line. All operations
//! are mostro-core's own: parse, serialise, verify, wrap, unwrap, chat, attestations and
//! rebinds of a reputation, payer hashes, and the figures of a user's reputation.

use std::io::{BufRead, Write};

use mostro_core::chat;
use mostro_core::message::Message;
use mostro_core::payer;
use mostro_core::reputation::{rating_hundredths, ReputationAttestation, ReputationImport, ReputationRebind};
use mostro_core::response::validate_response;
use mostro_core::transport::{unwrap_incoming, wrap_message_with, Transport, WrapOptions};
use mostro_core::user::User;
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

/// Returns whether the message is a valid answer to the request with that id. Without an
/// id, any answer that is no refusal is valid.
fn validate(request: &Value) -> Answer {
    let message = Message::from_json(text(request, "message")?).map_err(|e| e.to_string())?;
    Ok(json!({ "verify": validate_response(&message, request["request_id"].as_u64()).is_ok() }))
}

async fn seal(request: &Value) -> Answer {
    let message = Message::from_json(text(request, "message")?).map_err(|e| e.to_string())?;
    let options = WrapOptions {
        pow: request["pow"].as_u64().unwrap_or(0) as u8,
        expiration: request["expiration"].as_u64().map(Timestamp::from_secs),
        signed: request["signed"].as_bool().unwrap_or(true),
    };
    let trade = keys(request, "trade")?;
    let identity = keys(request, "identity")?;
    let sealed = wrap_message_with(Transport::Nip44Direct, &message, &identity, &trade, pubkey(request, "to")?, options).await;
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
    let (conv, sign) = chat::derive_chat_keys(&own, &peer).map_err(|e| e.to_string())?;
    let sealed = chat::wrap_chat_message(&own, &conv, &sign, words).await;
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

fn number(request: &Value, name: &str) -> Result<u64, String> {
    request[name].as_u64().ok_or(format!("no {name}"))
}

fn attest(request: &Value) -> Answer {
    let built = ReputationAttestation::build(
        &keys(request, "key")?,
        &pubkey(request, "to")?,
        text(request, "subject")?,
        number(request, "reviews")? as u32,
        request["average"].as_f64().ok_or("no average")?,
        number(request, "since")?,
        Timestamp::from_secs(number(request, "created_at")?),
        number(request, "lifetime")?,
    );
    out(&built.map_err(|e| e.to_string())?)
}

/// Returns the fields of an attestation. The reason is the refusal that a destination
/// sends if the attestation does not parse.
fn attested(request: &Value) -> Answer {
    let now = Timestamp::from_secs(number(request, "now")?);
    match ReputationAttestation::parse_json(text(request, "text")?, now, number(request, "lifetime")?) {
        Ok((a, _)) => Ok(json!({
            "sender": a.issuer.to_hex(),
            "identity": a.destination.to_hex(),
            "text": format!("{} {} {} {} {}", a.subject, a.reviews, a.rating_text(), a.since, a.expiration),
            "created_at": a.created_at,
        })),
        Err(e) => Ok(json!({
            "error": e.to_string(),
            "reason": serde_json::to_value(e.cant_do_reason()).map_err(|e| e.to_string())?,
        })),
    }
}

fn rebind(request: &Value) -> Answer {
    let built = ReputationRebind::build(
        &keys(request, "key")?,
        &pubkey(request, "issuer")?,
        &pubkey(request, "to")?,
        Timestamp::from_secs(number(request, "created_at")?),
        number(request, "lifetime")?,
    );
    out(&built.map_err(|e| e.to_string())?)
}

fn rebound(request: &Value) -> Answer {
    let now = Timestamp::from_secs(number(request, "now")?);
    let r = ReputationRebind::parse_json(text(request, "text")?, now).map_err(|e| e.to_string())?;
    Ok(json!({
        "sender": r.bound_identity.to_hex(),
        "identity": r.new_identity.to_hex(),
        "text": format!("{} {}", r.issuer.to_hex(), r.expiration),
        "created_at": r.created_at,
    }))
}

fn payer_hash(request: &Value) -> Answer {
    let canonical = text(request, "text")?;
    let hash = match request["order"].as_str() {
        Some(order) => payer::order_bound_payment_hash(&order.parse().map_err(|_| "no uuid")?, canonical),
        None => payer::payment_hash(canonical),
    };
    Ok(json!({ "text": hash, "ok": payer::is_valid_payment_hash(canonical) }))
}

/// Applies votes, imports and reverts to an empty user and returns the row. Doubles
/// travel as bits, because texts of doubles differ between JSON libraries.
fn reputation(request: &Value) -> Answer {
    let mut user = User::new(String::new(), 0, 0, 0, 0, 0);
    user.created_at = request["created_at"].as_i64().ok_or("no created_at")?;
    user.native_created_at = Some(user.created_at);
    for step in request["steps"].as_array().ok_or("no steps")? {
        if let Some(vote) = step["vote"].as_u64() {
            user.update_rating(vote as u8);
            continue;
        }
        let import = ReputationImport {
            reviews: number(step, "reviews")? as u32,
            rating_hundredths: number(step, "rating")? as u16,
            since: number(step, "since")?,
        };
        if step["revert"].as_bool().unwrap_or(false) {
            user.revert_reputation_import(&import, step["remaining"].as_i64());
        } else {
            user.apply_reputation_import(&import);
        }
    }
    Ok(json!({ "numbers": [
        user.total_reviews, user.total_rating.to_bits() as i64, user.last_rating, user.max_rating, user.min_rating,
        user.created_at, user.seeded_reviews, user.seeded_rating_sum.to_bits() as i64,
        user.native_rating_sum.to_bits() as i64, user.native_created_at(),
    ] }))
}

fn rounded(request: &Value) -> Answer {
    let average = f64::from_bits(number(request, "bits")?);
    Ok(json!({ "numbers": [rating_hundredths(average).map_or(-1, i64::from)] }))
}

async fn answer(line: &str) -> Answer {
    let request: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    match text(&request, "op")? {
        "echo" => echo(&request),
        "seal" => seal(&request).await,
        "open" => open(&request).await,
        "chat-seal" => chat_seal(&request).await,
        "chat-open" => chat_open(&request),
        "validate" => validate(&request),
        "attest" => attest(&request),
        "attested" => attested(&request),
        "rebind" => rebind(&request),
        "rebound" => rebound(&request),
        "payer-hash" => payer_hash(&request),
        "reputation" => reputation(&request),
        "rounded" => rounded(&request),
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
