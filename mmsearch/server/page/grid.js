// The results: a justified grid that draws only what is near the screen, however many there are.

import { Rows } from "./layout.js";
import { tile } from "./tile.js";
import { $, RIGHT, doing, el, press, withModifier } from "./dom.js";

const AROUND = 900;   // pixels drawn above and below the screen
const AHEAD = 2400;   // pixels before the end at which more results are fetched
const SETTLES = 120;  // ms that fast scrolling waits for before it asks for pictures

export class Grid {
	/** on: {open(index), act(does, hit), chosen(hits), more(), up()} */
	constructor(list, on) {
		Object.assign(this, { list, on, hits: [], complete: true, drawn: new Map(), current: 0, spare: new Map(),
			chosen: new Map() });  // key -> hit; it outlives other searches
		this.rows = new Rows(1, 1, 1);
		this.headings = new Map();  // index -> text of the heading before it
		this.total = -1;
		list.addEventListener("keydown", (event) => this.#key(event));
		list.addEventListener("focusin", (event) => this.#focused(event));
		list.addEventListener("click", (event) => this.#click(event));
		addEventListener("scroll", () => this.#soon(), { passive: true });
		new ResizeObserver(() => this.#resized()).observe(list);
	}

	/** Show other results. complete: no more will come. headings: as in `this.headings`.
	 * again: the same question as before, so that tiles of the same items stay. */
	show(hits, { complete, total = -1, headings = new Map(), again = false }) {
		const focused = this.list.contains(document.activeElement);
		this.spare = new Map(again ? [...this.drawn].map(([n, node]) => [this.hits[n].key, node]) : []);
		this.list.replaceChildren();
		this.drawn.clear();
		Object.assign(this, { hits: [], complete: false, headings, total,
			current: again ? Math.min(this.current, Math.max(0, hits.length - 1)) : 0 });
		this.#measure();
		this.append(hits, { complete, headings, total });
		this.spare.clear();
		if (again && focused) this.focus(this.current);
	}

	/** More of the same results. */
	append(hits, { complete, total = this.total, headings = this.headings }) {
		Object.assign(this, { complete, total, headings });
		this.hits.push(...hits);
		this.rows.add(hits, headings);
		if (complete) this.rows.end();
		this.#draw();
		this.#mark();
	}

	/** Choose a result, or no longer; without one: none is chosen any longer. */
	choose(hit) {
		if (!hit) this.chosen.clear();
		else if (!this.chosen.delete(hit.key)) this.chosen.set(hit.key, hit);
		this.#mark();
		this.on.chosen([...this.chosen.values()]);
	}

	/** Give the focus to a tile, and bring it into view. */
	focus(index) {
		if (!this.hits.length) return;
		this.current = Math.max(0, Math.min(index, this.hits.length - 1));
		const row = this.rows.rows[this.rows.rowOf(this.current)];
		if (!row) return;
		const top = this.#offset() + row.top, bar = this.#covered();
		if (top < scrollY + bar || top + row.height > scrollY + innerHeight) {
			scrollTo({ top: Math.max(0, top - bar - (innerHeight - bar - row.height) / 2) });
		}
		this.#draw();
		this.drawn.get(this.current)?.querySelector("a").focus({ preventScroll: true });
	}

	#measure() {
		const width = this.list.clientWidth;
		const height = width < 480 ? 118 : Math.round(Math.min(300, 140 + width / 18));
		this.rows = new Rows(width, height, width < 480 ? 3 : 4);
	}

	#resized() {
		if (this.list.clientWidth === this.rows.width || !this.list.clientWidth) return;
		// The tile at the upper edge stays there.
		const [first] = this.rows.between(scrollY - this.#offset() + this.#covered(), Infinity);
		const anchor = this.rows.rows[first]?.tiles[0].index ?? 0;
		const scrolled = scrollY > this.#offset();
		this.#measure();
		this.rows.add(this.hits, this.headings);
		if (this.complete) this.rows.end();
		for (const node of this.drawn.values()) node.remove();
		this.drawn.clear();
		this.#height();
		if (scrolled && this.rows.rows.length) {
			scrollTo({ top: this.#offset() + this.rows.rows[this.rows.rowOf(anchor)].top
				- this.#covered() });
		}
		this.#draw();
	}

	#offset() {
		return this.list.getBoundingClientRect().top + scrollY;
	}

	/** Pixels at the upper edge that the bar covers. */
	#covered() {
		return document.querySelector(".top").offsetHeight + 8;
	}

	#soon() {
		if (this.frame) return;
		this.frame = requestAnimationFrame(() => { this.frame = 0; this.#draw(); });
	}

	#height() {
		this.list.style.height = `${Math.ceil(this.rows.top)}px`;
	}

	#draw() {
		this.#height();
		const { rows } = this.rows, from = scrollY - this.#offset();
		this.isFast = Math.abs(scrollY - this.before) > innerHeight / 2;
		this.before = scrollY;
		const [first, last] = this.rows.between(from - AROUND, from + innerHeight + AROUND);
		const wanted = new Map();
		const want = (row) => row.tiles.forEach((place) => wanted.set(place.index, { row, place }));
		rows.slice(first, last).forEach(want);
		const held = rows[this.rows.rowOf(this.current)];  // what has the focus stays
		if (held) want(held);
		for (const [index, node] of this.drawn) {
			if (!wanted.has(index)) { node.remove(); this.drawn.delete(index); }
		}
		for (const index of [...wanted.keys()].sort((a, b) => a - b)) {
			if (!this.drawn.has(index)) this.#put(index, wanted.get(index));
		}
		this.#drawHeadings(from);
		if (!this.complete && this.hits.length && from + innerHeight + AHEAD > this.rows.top) {
			this.on.more();
		}
	}

	#put(index, { row, place }) {
		const hit = this.hits[index];
		const node = this.spare.get(hit.key) ?? tile(hit, row.height, this.isFast ? SETTLES : 0);
		Object.assign(node.style, { width: `${place.width}px`, height: `${row.height}px`,
			insetInlineStart: `${place.left}px`, top: `${row.top}px` });
		node.dataset.index = index;
		this.#marked(node, index);
		this.#tabbable(node, index === this.current);
		// In the order of the results, for those who do not see it.
		const after = [...this.drawn.keys()].filter((n) => n < index);
		if (after.length) this.drawn.get(Math.max(...after)).after(node); else this.list.prepend(node);
		this.drawn.set(index, node);
	}

	#drawHeadings(from) {
		for (const node of this.list.querySelectorAll(".divider")) node.remove();
		for (const { index, top, height } of this.rows.headings) {
			if (top + height < from - AROUND || top > from + innerHeight + AROUND) continue;
			const node = el("li.divider", this.headings.get(index));
			Object.assign(node.style, { top: `${top}px`, height: `${height}px` });
			const next = this.drawn.get(index);
			if (next) next.before(node); else this.list.append(node);
		}
	}

	#mark() {
		for (const [index, node] of this.drawn) this.#marked(node, index);
	}

	/** Its number among the results, and whether it is chosen. */
	#marked(node, index) {
		node.ariaPosInSet = index + 1;
		node.ariaSetSize = this.complete ? this.hits.length : this.total;
		$("[data-does=choose]", node).ariaPressed = this.chosen.has(this.hits[index].key);
	}

	#tabbable(node, yes) {
		for (const one of node.querySelectorAll("a, button")) one.tabIndex = yes ? 0 : -1;
	}

	#focused(event) {
		const index = this.#indexOf(event);
		if (index === undefined) return;
		const before = this.drawn.get(this.current);
		if (before) this.#tabbable(before, false);
		this.current = index;
		this.#tabbable(this.drawn.get(index), true);
	}

	#indexOf(event) {
		const node = event.target.closest(".tile");
		return node ? Number(node.dataset.index) : undefined;
	}

	#click(event) {
		const index = this.#indexOf(event);
		if (index === undefined || event.ctrlKey || event.metaKey || event.shiftKey) return;
		event.preventDefault();
		const does = doing(event);
		if (does === "choose") this.choose(this.hits[index]);
		else if (does) this.on.act(does, this.hits[index]);
		else this.on.open(index);
	}

	#key(event) {
		const index = this.#indexOf(event);
		if (index === undefined || withModifier(event)) return;
		const moves = { ArrowRight: () => index + RIGHT, ArrowLeft: () => index - RIGHT,
			ArrowDown: () => this.#beside(index, 1), ArrowUp: () => this.#beside(index, -1),
			Home: () => 0, End: () => this.hits.length - 1, Escape: () => -1 };
		const to = moves[event.key]?.();
		if (to >= 0) this.focus(to);
		else if (to < 0) this.on.up();
		else if (!press(this.drawn.get(index), event)) return;
		event.preventDefault();
	}

	/** The tile above or below one; -1 above the first row. */
	#beside(index, step) {
		const at = this.rows.rowOf(index), row = this.rows.rows[at + step];
		if (!row) return at + step < 0 ? -1 : index;
		const here = this.rows.rows[at].tiles.find((one) => one.index === index);
		const middle = here.left + here.width / 2;
		const off = (one) => Math.abs(one.left + one.width / 2 - middle);
		return row.tiles.reduce((best, one) => (off(one) < off(best) ? one : best)).index;
	}
}
