// The menu: what is searched and how, duplicates, the state of the index, keys.

import { $, button, el, foreign, number, plural } from "./dom.js";
import { place } from "./filters.js";
import { nothing } from "./state.js";

const KEYS = [
	["/", "to the search box"], ["↓", "from the box to the results"], ["← ↑ → ↓", "from result to result"],
	["Enter", "opens a result"], ["m", "more like this"], ["l", "less like this"],
	["Esc", "back, close"], ["← →", "in the viewer: previous, next"], ["+ − 0 z", "zoom in, out, fit, toggle"],
	["i", "what is known of the picture"], ["c", "copies its path"], ["d", "downloads it"],
	["?", "these keys"]];

const choice = (name, label, value, options, change) =>
	el("label", { class: "choice" }, label,
		el("select", { name, onchange: (event) => change(event.target.value) },
			options.map(([key, text]) => el("option", { value: key, selected: key === value },
				text))));

export class Menu {
	/** on: {server, change(part of a state), logout(), state()} */
	constructor(on) {
		this.on = on;
		this.panel = $("#menu");
		this.panel.addEventListener("toggle", (event) => {
			if (event.newState === "open") this.#open();
		});
		addEventListener("keydown", (event) => {
			const typing = event.target.closest?.("input, textarea, select");
			if (event.key === "?" && !typing && !event.ctrlKey) this.keys();
		});
	}

	#open() {
		const state = this.on.state(), server = this.on.server, { collections, status, login } = server;
		const change = (part) => { this.panel.hidePopover(); this.on.change(part); };
		this.panel.replaceChildren(...[
			collections.length > 1 ? choice("c", "Collection", server.named(state.c),
				collections.map(({ name }) => [name, name]), (c) => this.on.change({ ...nothing(), c })) : null,
			choice("mode", "Search by", state.mode, [["", "meaning and words"], ["vector", "meaning"],
				["text", "words"]], (mode) => change({ mode })),
			choice("find", "Find", state.find, [["", "pictures"], ["text", "texts"],
				["any", "pictures and texts"]], (find) => change({ find })),
			el("hr"),
			button({ class: "entry", onclick: () => change({ view: "copies", item: "" }) }, "Duplicates"),
			button({ class: "entry", onclick: () => {
				this.panel.hidePopover();
				this.keys();
			} }, "Keys"),
			login ? button({ class: "entry", onclick: () => this.on.logout() },
				"Log out") : null,
			el("hr"),
			el("div", { class: "index" }, collections.map((one) => this.#collection(one,
				status.find(({ name }) => name === one.name)))),
		].filter(Boolean));
		place(this.panel, $("#menu-button"));
	}

	#collection(one, status) {
		const parts = [plural(one.images, "picture"), one.frames && plural(one.frames, "frame"),
			one.texts && plural(one.texts, "text")].filter(Boolean);
		return el("div", {}, foreign("strong", one.name),
			el("div", {}, parts.join(", ")), foreign("div", `model ${one.model}`, { class: "dim" }),
			status?.state === "indexing" ? progress(status) : null,
			status?.error ? foreign("p", status.error, { class: "wrong" }) : null,
			status?.skipped ? el("div", { class: "dim" }, `${plural(status.skipped, "file")} could not be read`) : null);
	}

	keys() {
		const dialog = $("#keys");
		if (dialog.open) return;
		dialog.replaceChildren(
			el("h2", { id: "keys-title" }, "Keys"),
			el("dl", {}, KEYS.flatMap(([key, does]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, does)])),
			el("p", {}, "Write ", el("kbd", {}, "-people"), " to leave something out."),
			el("form", { method: "dialog" }, el("button", { class: "solid" }, "Close")));
		dialog.showModal();
	}
}

/** How far an index run is. */
export function progress(status) {
	const bar = el("progress", { "aria-label": "Indexing" });
	if (status.total) Object.assign(bar, { max: status.total, value: status.done });
	const of = status.total ? ` of ${number(status.total)}` : "";
	return el("div", { class: "run" },
		el("div", {}, `Indexing: ${number(status.done)}${of}`), bar);
}
