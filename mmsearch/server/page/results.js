// The results of a state: the first page, further ones, and those of states seen before.

import { browse, search } from "./api.js";
import { asked, conditions, judged, question } from "./state.js";

const FIRST = 60, LEAST = 120, MOST = 1000;  // results asked for; twice as many each time
const BY_DATE = 500;
const KEPT = 12;    // states whose results are kept for the back button
const MATCH = 0.5;  // from this relevance on, a match is more likely than not

export class Results {
	/** on: {show(results, scroll, again), append(hits, results), busy(yes), failed(error)} */
	constructor(on) {
		Object.assign(this, { on, now: null, kept: new Map(), asking: null });
	}

	/** Show what a state asks for. fresh: ask again also for what is kept. */
	async load(state, uploads, { fresh = false } = {}) {
		const key = question(state);
		if (this.now?.key === key && !fresh && !this.asking) return;
		this.#keep();
		this.asking?.abort();
		this.asking = null;
		const kept = this.kept.get(key);
		if (kept && !fresh) {
			this.now = kept;
			this.on.show(kept, kept.scroll);
			return;
		}
		const query = asked(state, uploads, state.sort === "date" ? BY_DATE : FIRST);
		const given = new Set(judged(state).flatMap((one) => [one, uploads[one]?.place]));
		await this.#fetch(query ?? { collection: state.c || undefined, where: conditions(state),
			find: state.find || "image", k: FIRST }, null, (page, ask) => {
			const again = this.now?.key === key;
			this.now = { key, ask, given, state, hits: [], scroll: 0, isSearch: Boolean(query) };
			this.#add(page);
			this.on.show(this.now, again ? scrollY : 0, again);
		});
	}

	/** The next page, if there is one and none is on its way. */
	async more() {
		const { now } = this;
		if (!now || now.complete || this.asking) return;
		await this.#fetch({ ...now.ask, k: Math.min(MOST, Math.max(LEAST, now.hits.length)) }, now.next, (page) => {
			const from = now.hits.length;
			this.#add(page);
			this.on.append(now.hits.slice(from), now);
		});
	}

	#add({ hits, cursor, offset, total, note, corrected }) {
		const { now } = this, known = new Set(now.hits.map((hit) => hit.key));
		now.hits.push(...hits.filter((hit) => !now.given.has(hit.key) && !now.given.has(hit.place) && !known.has(hit.key)));
		now.next = { cursor, offset };
		now.complete = !hits.length || !(cursor || offset);
		now.total = now.complete ? now.hits.length : total;
		if (note) now.note = note;
		now.corrected = { ...now.corrected, ...corrected };
		now.divider = divider(now);
		now.headings = new Map(now.divider < 0 ? []
			: [[now.divider, now.divider ? "Less certain" : "No close match. These come nearest:"]]);
	}

	async #fetch(ask, from, take) {
		const asking = new AbortController();
		this.asking = asking;
		const slow = setTimeout(() => this.on.busy(true), 250);
		try {
			const page = await (ask.mode ? search : browse)(ask, from, asking.signal);
			if (this.asking !== asking) return;  // stale
			this.asking = null;
			take(page, ask);
		} catch (error) {
			if (error.name === "AbortError" || this.asking !== asking) return;
			this.asking = null;
			this.on.failed(error, Boolean(from));
		} finally {
			clearTimeout(slow);
			if (!this.asking) this.on.busy(false);
		}
	}

	#keep() {
		const { now } = this;
		if (!now) return;
		now.scroll = scrollY;
		this.kept.delete(now.key);
		this.kept.set(now.key, now);
		if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
	}
}

/** The index of the first hit that is less likely a match than not; -1: there is none. */
function divider({ isSearch, state, hits }) {
	if (!isSearch || state.sort === "date") return -1;
	return hits.findIndex((hit) => hit.relevance !== null && hit.relevance < MATCH && !hit.named);
}
