// Filters: a button for each facet that the collection has, and what is set as chips.

import { $, button, el, foreign, icon, number, redraw, shown } from "./dom.js";
import { fieldOf, valueOf } from "./state.js";

/** Facets that have a button, in this order; sets of labels come before them. */
const NAMES = { people: "People", cities: "Place", countries: "Country", cameras: "Camera", keywords: "Keyword",
	colours: "Colour", ratings: "Rating", folders: "Folder", types: "Type" };
const LABELS = "label:";
const TYPES = { image: "Pictures", video: "Videos", document: "Documents" };
const WAYS = { find: { text: "texts", any: "pictures and texts" }, mode: { vector: "by meaning", text: "by words" } };
const SEARCHABLE = 12;

/** What the button of a facet says; undefined: it has none. */
function titleOf({ name }) {
	if (!name.startsWith(LABELS)) return NAMES[name];
	const set = name.slice(LABELS.length);
	return set[0].toUpperCase() + set.slice(1);
}

const ORDER = Object.keys(NAMES);
const place = ({ name }) => ORDER.indexOf(name);  // -1, the first: a set of labels

function label(name, value) {
	if (name === "ratings") return "★".repeat(Math.max(0, Number(value))) || "☆";
	if (name === "types") return TYPES[value] ?? value;
	return shown(value);
}

/** Conditions are the same however they are quoted. */
const same = (one, other) => fieldOf(one) === fieldOf(other) && valueOf(one) === valueOf(other);

export class Filters {
	/** on: {change(part of a state), load(field) -> facets without the conditions of that field} */
	constructor(box, on) {
		Object.assign(this, { box, on, state: null, facets: [] });
		this.buttons = $(".facets", box);
		this.chips = $(".chips", box);
	}

	show(state, facets) {
		this.state = state;
		this.facets = facets;
		redraw(this.chips, ...["find", "mode", "taken"].filter((name) => state[name]).map((name) =>
			this.#removing(name, WAYS[name]?.[state[name]] ?? state[name], { [name]: "" })),
		...state.f.map((where) => this.#chip(where)));
		if (this.chips.childElementCount > 1) {
			this.chips.append(button(".quiet", () =>
				this.on.change({ f: [], taken: "", find: "", mode: "" }), "Clear all"));
		}
		if (!this.buttons.querySelector(":popover-open")) this.#facets();  // one that is open stays
	}

	#facets() {
		redraw(this.buttons, ...this.facets
			.filter((facet) => titleOf(facet) && (facet.values.length > 1 || this.#set(facet).length))
			.sort((one, other) => place(one) - place(other))
			.map((facet) => this.#facet(facet)));
	}

	#chip(where) {
		const facet = this.facets.find((one) => one.values.some((value) => same(value.where, where)));
		const found = facet?.values.find((value) => same(value.where, where));
		const text = facet ? label(facet.name, found.value) : shown(valueOf(where));
		return this.#removing(where, text, { f: this.state.f.filter((one) => one !== where) });
	}

	/** A chip that changes a part of the state when it is pressed. */
	#removing(filter, text, part) {
		return button(".chip.on", () => this.on.change(part), { "data-is": filter, title: "Remove",
			"aria-label": `Remove the filter ${text}` }, foreign("span", text), icon("close"));
	}

	#set(facet) {
		return facet.values.filter((value) => this.state.f.some((where) => same(where, value.where)));
	}

	#facet(facet) {
		const id = `facet-${facet.name}`, name = titleOf(facet);
		const list = el("div.options");
		const panel = el("div.menu", { id, popover: true, role: "group", "aria-label": name }, list);
		panel.addEventListener("toggle", (event) => {
			if (event.newState === "open") this.#open(facet, list); else this.#facets();
		});
		return el("span.facet", el(this.#set(facet).length ? "button.chip.some" : "button.chip",
			{ type: "button", popovertarget: id, "data-is": facet.name }, foreign("span", name), icon("down")), panel);
	}

	/** What can be chosen, as it is with all other filters. */
	async #open(facet, list) {
		this.#options(facet, list);
		list.querySelector("input")?.focus();
		try {
			const field = facet.field || fieldOf(facet.values[0].where);
			const fresh = (await this.on.load(field)).find((one) => one.name === facet.name);
			if (fresh && JSON.stringify(fresh) !== JSON.stringify(facet)) {
				this.#options(fresh, list);
				list.querySelector("input")?.focus();
			}
		} catch {
			// what is there already can be chosen
		}
	}

	#options(facet, list) {
		const rows = facet.values.map((value) => this.#option(facet, value));
		const find = facet.values.length > SEARCHABLE ? el("input.narrow", { type: "search",
			placeholder: `Find in ${facet.values.length}`, "aria-label": "Find a value",
			oninput: (event) => {
				const typed = event.target.value.trim().toLowerCase();
				rows.forEach((row, n) => {
					row.hidden = !shown(facet.values[n].value).toLowerCase().includes(typed);
				});
			} }) : null;
		list.replaceChildren(...[find, ...rows].filter(Boolean));
	}

	#option(facet, { value, count, where }) {
		const checked = this.state.f.some((one) => same(one, where));
		const input = el("input", { type: "checkbox", checked, onchange: () => {
			const rest = this.state.f.filter((one) => !same(one, where));
			this.on.change({ f: input.checked ? [...rest, where] : rest });
		} });
		const colour = facet.name === "colours" ? el("span.swatch") : null;
		if (colour) colour.style.background = value;  // the basic colours are names in CSS, too
		return el("label.option", input, colour,
			foreign("span.value", label(facet.name, value)),
			el("span.count", number(count)));
	}
}
