// The search box: words, and the pictures that go with them.

import { $, el, icon, iconButton, shown } from "./dom.js";

const PAUSE = 140;    // ms without a key before a search starts
const SETTLED = 1200; // ms after which what is typed gets an entry of its own in the history

export class Box {
	/** on: {words(q, {fresh}), remove(key), down(), clear()} */
	constructor(on) {
		Object.assign(this, { on, timer: 0, typed: -Infinity });
		this.input = $("#q");
		this.list = $("#asked");
		this.clear = $("#clear");
		this.input.addEventListener("input", () => this.#later());
		$("#search").addEventListener("submit", (event) => {
			event.preventDefault();
			this.#now();
			this.settle();
		});
		this.input.addEventListener("keydown", (event) => {
			if (event.key === "ArrowDown") { event.preventDefault(); this.on.down(); }
			if (event.key === "Backspace" && !this.input.value) this.list.lastChild?.querySelector("button")?.click();
		});
		this.clear.addEventListener("click", () => { this.on.clear(); this.input.focus(); });
	}

	focus() {
		this.input.focus();
		this.input.select();
	}

	/** What is typed next is another search. */
	settle() {
		this.typed = -Infinity;
	}

	/** names: {key: {name, thumb}} of the pictures in the state */
	show(state, names) {
		if (this.input.value.trim() !== state.q && !this.timer) this.input.value = state.q;
		const keys = [...state.like.map((key) => [key, "like"]),
			...state.unlike.map((key) => [key, "unlike"])];
		this.list.hidden = !keys.length;
		this.list.replaceChildren(...keys.map(([key, sign]) => this.#picture(names[key], key, sign)));
		this.clear.hidden = !state.q && !keys.length;
		this.input.placeholder = keys.length ? "and words" : "Describe or drop a picture";
	}

	#picture(known, key, sign) {
		const name = shown(known?.name ?? "a picture"), how = sign === "like" ? "More" : "Less";
		return el(`li.given.${sign}`, { title: `${how} like ${name}` },
			known?.thumb ? el("img", { src: known.thumb, alt: `${how} like ${name}` })
				: el("span.unseen", { role: "img", "aria-label": `${how} like ${name}` }, icon("picture")),
			iconButton("close", `Remove ${name} from the search`, () => {
				this.on.remove(key);
				this.input.focus();
			}));
	}

	#later() {
		clearTimeout(this.timer);
		this.timer = setTimeout(() => this.#now(), PAUSE);
	}

	#now() {
		clearTimeout(this.timer);
		this.timer = 0;
		const fresh = performance.now() - this.typed > SETTLED;
		this.typed = performance.now();
		this.on.words(this.input.value.trim(), { fresh });
	}
}
