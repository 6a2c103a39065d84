// The menu: what is searched and how, duplicates, the state of the index, keys.

import { $, doing, el, foreign, number, plural } from "./dom.js";
import { nothing } from "./state.js";

const panel = $("#menu");

export class Menu {
	/** on: {server, change(part of a state), names(), logout(), state()} */
	constructor(on) {
		this.on = on;
		const acts = { copies: () => this.#change({ view: "copies", item: "" }), logout: on.logout,
			names: on.names };
		panel.addEventListener("toggle", (event) => {
			if (event.newState === "open") this.#open();
		});
		panel.addEventListener("change", ({ target: { name, value } }) =>
			this.#change(name === "c" ? { ...nothing(), c: value } : { [name]: value }));
		panel.addEventListener("click", (event) => acts[doing(event)]?.());
		addEventListener("keydown", (event) => {
			const typing = event.target.closest?.("input, textarea, select");
			if (event.key === "?" && !typing && !event.ctrlKey && !$("#keys").open) $("#keys").showModal();
		});
	}

	#change(part) {
		panel.hidePopover();
		this.on.change(part);
	}

	#open() {
		const state = this.on.state(), { server } = this.on, { collections } = server;
		const names = $("[name=c]", panel);
		names.replaceChildren(...collections.map(({ name }) => el("option", name)));
		names.parentNode.hidden = collections.length < 2;
		for (const name of ["mode", "find"]) $(`[name=${name}]`, panel).value = state[name];
		names.value = server.named(state.c);
		$("[data-does=logout]", panel).hidden = !server.login;
		this.index();
	}

	/** Show how the collections are, where that is another than before. */
	index() {
		const { collections, status } = this.on.server, now = JSON.stringify([collections, status]);
		if (!panel.matches(":popover-open") || now === this.shown) return;
		this.shown = now;
		$("#index").replaceChildren(...collections.map((one) =>
			described(one, status.find(({ name }) => name === one.name))));
	}
}

/** What a collection has, how far it is, and what could not be read. */
function described(one, status) {
	const parts = [plural(one.images, "picture"), one.frames && plural(one.frames, "frame"),
		one.texts && plural(one.texts, "text")].filter(Boolean);
	return el("div", foreign("strong", one.name),
		el("div", parts.join(", ")), foreign("div.dim", `model ${one.model}`),
		status?.state === "indexing" ? progress(status) : null,
		status?.error ? foreign("p.wrong", status.error) : null,
		status?.skipped ? skipped(status) : null);
}

function skipped({ skipped: count, skipped_files: files }) {
	const more = count - files.length;
	return el("details", el("summary.dim", `${plural(count, "file")} could not be read`),
		el("ul", files.map(({ path, reason }) => el("li", foreign("span.path", path),
			foreign("div.dim", reason))), more > 0 ? el("li", `and ${number(more)} more`) : null));
}

const begun = new Map();  // name of a collection -> {at, done}, as this page first saw its run

/** ", about 3 minutes left", going by what this page has seen; "" too early to tell. */
function left({ name, done, total }) {
	const at = performance.now();
	if (!(begun.get(name)?.done <= done)) begun.set(name, { at, done });
	const first = begun.get(name), seconds = (at - first.at) / 1000;
	const minutes = (total - done) * seconds / (done - first.done) / 60;
	return total && seconds > 8 && minutes < 6000
		? `, about ${plural(Math.max(1, Math.round(minutes)), "minute")} left` : "";
}

/** How far an index run is. */
export function progress(status) {
	const bar = el("progress", { "aria-label": "Indexing" });
	if (status.total) Object.assign(bar, { max: status.total, value: status.done });
	const of = status.total ? ` of ${number(status.total)}` : "";
	return el("div.run",
		el("div", `Indexing: ${number(status.done)}${of}${left(status)}`), bar);
}
