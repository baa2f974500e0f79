// Rates a Mostro: builds kind 31986, has the visitor's own signer (NIP-07)
// sign it, and hands it to the relay that served this page.
"use strict";
(() => {
	const form = document.getElementById("rateform");
	const state = document.getElementById("ratestate");
	if (!form || !state) return;
	const node = form.dataset.node;
	const button = form.querySelector("button");
	const say = (text, kind) => {
		state.textContent = text;
		state.className = kind || "";
	};

	// Signers are put into the page late, or not at all.
	const deadline = Date.now() + 5000;
	const look = () => {
		if (window.nostr && window.nostr.signEvent) {
			button.disabled = false;
			say("Your signer will show you the rating before it signs.");
		} else if (Date.now() < deadline) {
			setTimeout(look, 200);
		} else {
			say("No signer was found in this browser. Rating from this page needs one (NIP-07), such as Alby or nos2x; any other Nostr client can publish the same event.");
		}
	};
	look();

	// receiptTags reads what the visitor pasted; it throws a sentence.
	const receiptTags = (text) => {
		if (text === "") return [];
		if (/^[0-9a-fA-F]{128}$/.test(text)) return [["sig", text.toLowerCase()]];
		let value;
		try {
			value = JSON.parse(text);
		} catch {
			throw new Error("The receipt is neither JSON nor a token of 128 hex digits.");
		}
		if (!Array.isArray(value) || !value.every((v) => typeof v === "string")) throw new Error("The receipt is not a list of strings.");
		if (value[0] !== "receipt") value = ["receipt", ...value];
		if (!/^r[0-3]$/.test(value[1] || "")) throw new Error("The receipt names none of the kinds r0, r1, r2 and r3.");
		return [value];
	};

	const draft = () => {
		const data = new FormData(form);
		const order = data.get("order").trim().toLowerCase();
		const stars = Number(data.get("stars"));
		if (!(stars >= 1 && stars <= 5)) throw new Error("Choose one to five stars.");
		if (!/^[0-9a-f-]{8,64}$/.test(order)) throw new Error("The order id is not understood.");
		const text = data.get("text").trim();
		if ([...text].length > 500) throw new Error("The text is longer than 500 characters.");
		const receipt = receiptTags(data.get("receipt").trim());
		const tags = [...receipt.filter((t) => t[0] === "sig"), ["d", "mostro:" + order], ["p", node], ["rating", (stars / 5).toString()],
			["y", "mostro"], ["k", "38383"], ["a", "38383:" + node + ":" + order], ...receipt.filter((t) => t[0] !== "sig")];
		if (data.get("role")) tags.push(["role", data.get("role")]);
		tags.push(["alt", "Rating of a Mostro after a trade"]);
		return {kind: 31986, created_at: Math.floor(Date.now() / 1000), tags, content: text};
	};

	// publish resolves with what the relay says to the event.
	const publish = (evt) => new Promise((resolve, reject) => {
		const relay = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/");
		const timer = setTimeout(() => end(reject, new Error("The relay did not answer within 15 seconds. Try again: the same rating is never counted twice.")), 15000);
		let over = false;
		const end = (how, what) => {
			if (over) return;
			over = true;
			clearTimeout(timer);
			relay.close();
			how(what);
		};
		relay.onopen = () => relay.send(JSON.stringify(["EVENT", evt]));
		relay.onerror = () => end(reject, new Error("The relay cannot be reached."));
		relay.onclose = () => end(reject, new Error("The relay closed the connection before it answered."));
		relay.onmessage = (m) => {
			let frame;
			try {
				frame = JSON.parse(m.data);
			} catch {
				return;
			}
			if (frame[0] !== "OK" || frame[1] !== evt.id) return;
			if (frame[2]) end(resolve, frame[3]);
			else end(reject, new Error("The relay refuses it: " + frame[3]));
		};
	});

	form.addEventListener("submit", async (submitted) => {
		submitted.preventDefault();
		button.disabled = true;
		try {
			const unsigned = draft();
			say("Waiting for your signer …");
			const pubkey = await window.nostr.getPublicKey();
			if (pubkey === node) throw new Error("This is the Mostro's own key: nobody rates himself.");
			const evt = await window.nostr.signEvent({...unsigned, pubkey});
			if (!evt || !evt.id || !evt.sig) throw new Error("The signer gave nothing back.");
			say("Publishing …");
			await publish(evt);
			say("Published. It appears in the list above within a minute, with whether it counts and why.", "done");
			form.reset();
		} catch (err) {
			say(err && err.message ? err.message : String(err), "failed");
		} finally {
			button.disabled = false;
		}
	});
})();
