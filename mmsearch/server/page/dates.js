// When the pictures were taken: a bar for each year, or for each month of the year that is chosen.

import { button, el, number, plural, redraw } from "./dom.js";

const LOWEST = 0.08;  // of the height: a bar that has one picture is still seen
const MOST_YEARS = 80;

export class Dates {
	/** choose(taken): "", "2021" or "2021-05" */
	constructor(box, choose) {
		Object.assign(this, { box, choose });
	}

	show(state, facets) {
		const values = (name) => new Map((facets.find((facet) => facet.name === name)?.values ?? [])
			.map(({ value, count }) => [String(value), count]));
		const years = values("years"), months = values("months");
		this.box.hidden = years.size < 2 && months.size < 2;
		if (this.box.hidden) return;
		const year = state.taken.slice(0, 4);
		const bars = year ? this.#months(year, months) : this.#years(years);
		const top = Math.max(1, ...bars.map((bar) => bar.count));
		redraw(this.box,
			...(year ? [button(".quiet", () => this.choose(""), { "data-is": "" }, "All years"), el("strong", year)] : []),
			el("div.bars", bars.map((bar) => this.#bar(bar, top, state.taken))));
	}

	#years(years) {
		const known = [...years.keys()].map(Number).sort((a, b) => a - b);
		const from = Math.max(known[0], known.at(-1) - MOST_YEARS);
		return Array.from({ length: known.at(-1) - from + 1 }, (_, n) => String(from + n))
			.map((year) => ({ taken: year, name: year, long: year, count: years.get(year) ?? 0 }));
	}

	#months(year, months) {
		return Array.from({ length: 12 }, (_, n) => {
			const taken = `${year}-${String(n + 1).padStart(2, "0")}`;
			const name = new Date(taken).toLocaleString("en", { month: "short", timeZone: "UTC" });
			return { taken, name, long: `${name} ${year}`, count: months.get(taken) ?? 0 };
		});
	}

	#bar({ taken, name, long, count }, top, chosen) {
		const fill = el("span");
		fill.style.height = `${count ? 100 * Math.max(LOWEST, Math.sqrt(count / top)) : 0}%`;
		const on = taken === chosen;
		return button(".bar-of", () => this.choose(on ? taken.slice(0, 4 * (taken.length > 4)) : taken), {
			disabled: !count, "data-is": taken, "aria-pressed": String(on),
			title: `${long}: ${number(count)}`, "aria-label": `${long}: ${plural(count, "picture")}` },
		fill, el("strong", name));
	}
}
