// Where each tile goes: full rows of one height, left to right, as photographers lay out contact
// sheets. Rows that are full never change again, so nothing jumps when more results come.

const NARROWEST = 0.5, WIDEST = 5;  // width : height
const HEADING = 54;  // pixels

/** Width : height of what is shown; a text without a size is a card. */
function aspect(hit) {
	const ratio = hit.width && hit.height ? hit.width / hit.height : 4 / 3;
	return Math.min(WIDEST, Math.max(NARROWEST, ratio));
}

export class Rows {
	/** width, height (aimed at), gap: pixels */
	constructor(width, height, gap) {
		Object.assign(this, { width, height, gap });
		this.rows = [];      // {top, height, tiles: [{index, left, width}]}
		this.headings = [];  // {index, top, height}
		this.top = 0;
		this.waiting = [];   // {index, ratio}: not yet a full row
		this.count = 0;
	}

	/** headed: has the indexes before which there is a heading */
	add(hits, headed) {
		for (const hit of hits) {
			if (headed.has(this.count)) this.#heading(this.count);
			this.waiting.push({ index: this.count++, ratio: aspect(hit) });
			this.#fill();
		}
	}

	/** No more will come (for now): the last row is as long as it is. */
	end() {
		if (this.waiting.length) this.#row(this.waiting.splice(0), this.height);
	}

	#heading(index) {
		this.end();
		this.headings.push({ index, top: this.top, height: HEADING });
		this.top += HEADING;
	}

	#fill() {
		const { waiting } = this;
		const whole = this.#heightOf(waiting);
		if (whole > this.height) return;
		// With the last tile the row is lower than aimed at, without it higher: the nearer one.
		const without = waiting.slice(0, -1);
		if (without.length && this.#heightOf(without) / this.height < this.height / whole) {
			this.#row(without, this.#heightOf(without));
			this.waiting = waiting.slice(-1);
			this.#fill();
		} else {
			this.#row(waiting, whole);
			this.waiting = [];
		}
	}

	#heightOf(tiles) {
		const ratios = tiles.reduce((sum, tile) => sum + tile.ratio, 0);
		return (this.width - this.gap * (tiles.length - 1)) / ratios;
	}

	#row(tiles, height) {
		let left = 0;
		const placed = tiles.map(({ index, ratio }) => {
			const tile = { index, left, width: Math.min(ratio * height, this.width) };
			left += tile.width + this.gap;
			return tile;
		});
		this.rows.push({ top: this.top, height, tiles: placed });
		this.top += height + this.gap;
	}

	/** Indexes of the first and one behind the last row that touch the pixels from..to. */
	between(from, to) {
		const first = lowest(this.rows.length, (n) => this.rows[n].top + this.rows[n].height >= from);
		const last = lowest(this.rows.length, (n) => this.rows[n].top > to);
		return [first, last];
	}

	/** The row that has a tile. */
	rowOf(index) {
		const { rows } = this;
		return lowest(rows.length, (n) => rows[n].tiles.at(-1).index >= index);
	}
}

function lowest(count, holds) {
	let low = 0, high = count;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (holds(middle)) high = middle; else low = middle + 1;
	}
	return low;
}
