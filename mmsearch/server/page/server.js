// How the server is: which collections it has, whether it indexes, whether it is there at all.

import { $, announce, said } from "./dom.js";
import * as api from "./api.js";
import { progress } from "./menu.js";

const CALM = 15, EAGER = 1.5, GONE = 2;  // seconds between looks

export class Server {
	#known = Promise.withResolvers();

	/** on: {changed(name): a collection has other items, looked(): at how far they are, back(): after it was gone} */
	constructor(on) {
		Object.assign(this, { on, collections: [], status: [], login: false, isGone: false, timer: 0 });
		api.on.gone = () => this.#gone();
		api.on.back = () => this.#back();
		document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#look(); });
	}

	start() {
		this.#look();
	}

	/** Resolves when the collections are known, also after the server was gone. */
	get ready() {
		return this.#known.promise;
	}

	/** The name of a collection: the first where a state names none. */
	named(name) {
		return name || this.collections[0]?.name || "";
	}

	/** How far a collection is, and what it is. */
	of(name) {
		return this.status.find((one) => one.name === this.named(name));
	}

	about(name) {
		return this.collections.find((one) => one.name === this.named(name));
	}

	async #collections() {
		const found = await api.collections();
		this.collections = found.collections;
		this.login = found.login;
	}

	async #look() {
		if (this.isGone || !document.hidden) await this.#update().catch(() => {});  // #gone says why
		this.#again(this.isGone ? GONE : this.#runs().length ? EAGER : CALM);
	}

	#again(seconds) {
		clearTimeout(this.timer);
		this.timer = setTimeout(() => this.#look(), seconds * 1000);
	}

	async #update() {
		const before = this.status;
		if (!this.collections.length) await this.#collections();
		this.status = (await api.status()).collections;
		this.#known.resolve();
		const other = this.status.filter((one) => {
			const was = before.find(({ name }) => name === one.name);
			return was && (was.items !== one.items || was.state !== one.state);
		});
		if (other.length) await this.#collections();
		this.#notice(this.#runs().map(progress), "runs");
		this.on.looked();
		for (const one of other) this.on.changed(one.name);
	}

	#runs() {
		return this.status.filter((one) => one.state === "indexing");
	}

	#gone() {
		if (this.isGone) return;
		this.isGone = true;
		this.#notice([said("gone")], "gone");
		announce("The server does not answer.");
		this.#again(GONE);
	}

	#back() {
		if (!this.isGone) return;
		this.isGone = false;
		this.#notice([], "");
		announce("The server is back.");
		this.on.back();
	}

	#notice(content, kind) {
		const box = $("#notice");
		box.hidden = !content.length;
		box.className = `notice ${kind}`;
		box.replaceChildren(...content);
	}
}
