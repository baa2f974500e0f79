"use strict";
// Signs the challenge of the page with the browser's signer (NIP-07). Without a signer the
// signed event is pasted.
addEventListener("load", () => {
	const form = document.getElementById("sign"), state = document.getElementById("signstate"), button = document.getElementById("nip07");
	const until = Date.now() + 3000;
	const look = () => {
		if (window.nostr) {
			button.hidden = false;
			form.querySelector("details").open = false;
			return;
		}
		if (Date.now() < until) setTimeout(look, 100);
	};
	look();
	button.addEventListener("click", async () => {
		button.disabled = true;
		try {
			const evt = JSON.parse(form.dataset.unsigned);
			evt.created_at = Math.floor(Date.now() / 1000);
			form.elements.event.value = JSON.stringify(await window.nostr.signEvent(evt));
			form.requestSubmit();
		} catch (err) {
			state.textContent = "The signer has not signed: " + (err && err.message || err);
			button.disabled = false;
		}
	});
});
