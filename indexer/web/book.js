"use strict";
// The book without this script is complete. The script marks orders that go while the page is
// open, and counts the new ones. It holds nothing but the ids of the rows and of the new orders.
const list = document.getElementById("offers"), fresh = document.getElementById("fresh"), live = document.getElementById("live");
const most = 500;
const rows = new Map();
for (const row of list.children) rows.set(row.dataset.id, row);
const found = new Set();
const show = () => {
	fresh.hidden = found.size === 0;
	if (fresh.hidden) return;
	const link = fresh.firstElementChild || fresh.appendChild(document.createElement("a"));
	link.href = location.href;
	link.textContent = found.size === 1 ? list.dataset.single : list.dataset.more.replace("#", found.size < most ? found.size : most + "+");
};
let source;
const parse = (e) => { try { return JSON.parse(e.data); } catch { return {}; } };
const open = (url) => {
	source = new EventSource(url);
	source.onopen = () => { live.hidden = false; };
	source.onerror = () => { live.hidden = true; };
	source.addEventListener("order", (e) => {
		const o = parse(e), id = o.pubkey + ":" + o.d, row = rows.get(id);
		if (row) row.classList.remove("gone");
		else if (o.d !== undefined && found.size < most) { found.add(id); show(); }
	});
	source.addEventListener("gone", (e) => {
		const o = parse(e), id = o.pubkey + ":" + o.d, row = rows.get(id);
		if (found.delete(id)) show();
		if (!row || row.classList.contains("gone")) return;
		row.classList.add("gone");
		const said = document.createElement("strong");
		said.className = "said-gone";
		said.textContent = list.dataset.gone;
		row.appendChild(said);
	});
	source.addEventListener("end", () => source.close());
};
open(list.dataset.stream);
// A page that is kept for the button "back" opens the stream again with what it may have missed.
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });
