// Names for what pictures show: some are chosen and given a name, which searches know from then on.

import { $, button, doing, el, iconButton, number, plural, shown, toast } from "./dom.js";
import * as api from "./api.js";

const dialog = $("#teach"), form = $("form", dialog), { name, is } = form.elements, wrong = $(".wrong", form);
const bar = $("#chosen");

/** What goes wrong is said in the dialog. */
const said = (work) => work.catch((error) => { wrong.textContent = error.message; });

export class Teach {
	/** on: {changed(): searches find something else now, search(name), none(): nothing is to be chosen any
	 * longer, collection(): its name} */
	constructor(on) {
		this.on = on;
		form.addEventListener("submit", (event) => {
			event.preventDefault();
			said(this.#save());
		});
		bar.addEventListener("click", (event) => {
			const does = doing(event);
			if (does === "teach") this.open(this.chosen); else if (does) on.none();
		});
	}

	/** Show how many are chosen. */
	show(hits) {
		this.chosen = hits;
		bar.hidden = !hits.length;
		$("span", bar).textContent = `${number(hits.length)} chosen`;
	}

	/** Ask for the name of pictures; without any, show the names that there are. */
	open(hits) {
		this.hits = hits;
		form.reset();
		wrong.textContent = "";
		form.classList.toggle("naming", hits.length > 0);
		$("h2", form).textContent = hits.length ? `Name ${plural(hits.length, "picture")}` : "Names";
		$(".row", form).replaceChildren(...hits.map((hit) => el("img", { src: hit.thumb(160), alt: shown(hit.name) })));
		dialog.showModal();
		said(this.#list());
	}

	async #list() {
		const names = await api.names(this.on.collection());
		$("ul", form).replaceChildren(...names.map((one) => el("li",
			button(".word", () => this.#leave(one.name), { dir: "auto", title: "Search" }, shown(one.name)),
			el("span.value.dim", one.is_a && `${one.is_a}, `, plural(one.pictures, "picture")),
			iconButton("close", `Forget ${one.name}`, () => said(this.#forget(one.name))))));
	}

	async #save() {
		await api.teach({ name: name.value, is_a: is.value, items: this.hits.map(({ id }) => id),
			collection: this.on.collection() });
		this.#leave(name.value);
		toast(`Searches know ${name.value} now, also among other words.`);
	}

	async #forget(one) {
		await api.forget({ name: one, collection: this.on.collection() });
		this.on.changed();
		this.#list();
	}

	#leave(one) {
		dialog.close();
		this.on.changed();
		this.on.search(one);
	}
}
