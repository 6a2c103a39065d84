// How the server is: which collections it has, whether it indexes, whether it is there at all.

import { $, announce, el } from "./dom.js";
import * as api from "./api.js";
import { progress } from "./menu.js";

const CALM = 15, EAGER = 1.5, GONE = 2;  // seconds between looks

export class Server {
	#known;

	/** on: {changed(name): a collection has other items, looked(): at how far they are, back(): after it was gone} */
	constructor(on) {
		Object.assign(this, { on, collections: [], status: [], login: false, isGone: false, timer: 0 });
		api.on.gone = () => this.#gone();
		api.on.back = () => this.#back();
		document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#look(); });
	}

	/** Resolves when the collections are known, also after the server was gone. */
	start() {
		this.ready = new Promise((done) => { this.#known = done; });
		this.#look();
		return this.ready;
	}

	/** The name of a collection: the first where a state names none. */
	named(name) {
		return name || this.collections[0]?.name || "";
	}

	of(name) {
		return this.status.find((one) => one.name === this.named(name));
	}

	async #collections() {
		const found = await api.collections();
		this.collections = found.collections;
		this.login = found.login;
	}

	async #look() {
		clearTimeout(this.timer);
		let seconds = CALM;
		try {
			if (this.isGone) {
				if (await api.alive()) this.#back(); else seconds = GONE;
			}
			if (!this.isGone && !document.hidden) {
				const before = this.status;
				if (!this.collections.length) await this.#collections();
				this.status = (await api.status()).collections;
				this.#known();
				if (this.status.some((one) => one.state === "indexing")) seconds = EAGER;
				const other = this.status.filter((one) => {
					const was = before.find(({ name }) => name === one.name);
					return was && (was.items !== one.items || was.state !== one.state);
				});
				if (other.length) await this.#collections();
				this.#run();
				this.on.looked();
				for (const one of other) this.on.changed(one.name);
			}
		} catch {
			seconds = this.isGone ? GONE : CALM;
		}
		clearTimeout(this.timer);
		this.timer = setTimeout(() => this.#look(), seconds * 1000);
	}

	/** A line while something is being indexed. */
	#run() {
		if (this.isGone) return;
		const runs = this.status.filter((one) => one.state === "indexing");
		this.#notice(runs.length ? runs.map(progress) : [], "runs");
	}

	#gone() {
		if (this.isGone) return;
		this.isGone = true;
		this.#notice([el("p", {}, "The server does not answer. Start it again with ",
			el("kbd", {}, "mmsearch serve"), "; this page notices.")], "gone");
		announce("The server does not answer.");
		clearTimeout(this.timer);
		this.timer = setTimeout(() => this.#look(), GONE * 1000);
	}

	#back() {
		if (!this.isGone) return;
		this.isGone = false;
		this.#notice([], "");
		announce("The server is back.");
		this.on.back();
		this.#look();
	}

	#notice(content, kind) {
		const box = $("#notice");
		box.hidden = !content.length;
		box.className = `notice ${kind}`;
		box.replaceChildren(...content);
	}
}
