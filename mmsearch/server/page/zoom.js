// Zooming and moving a picture: wheel, pinch, double click, dragging, keys.

const MOST = 12;
const SWIPE = 50;  // pixels

export class Zoom {
	/** stage: what the picture moves in; onchange(scale): it is now so much larger than fitted;
	 * onswipe(step): a finger asked for what is to the right (1) or to the left (-1). */
	constructor(stage, onchange, onswipe) {
		Object.assign(this, { stage, onchange, onswipe, scale: 1, x: 0, y: 0, node: null });
		this.pointers = new Map();
		stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
		stage.addEventListener("dblclick", (event) => {
			if (this.node && event.target.closest(".frame")) this.toggle(event);
		});
		stage.addEventListener("pointerdown", (event) => this.#down(event));
		stage.addEventListener("pointermove", (event) => this.#move(event));
		for (const name of ["pointerup", "pointercancel"]) {
			stage.addEventListener(name, (event) => this.#up(event));
		}
	}

	/** Another picture, fitted; null: nothing that can be zoomed. */
	show(node) {
		this.node = node;
		this.pointers.clear();
		this.fit();
	}

	fit() {
		Object.assign(this, { scale: 1, x: 0, y: 0 });
		this.#apply();
	}

	by(factor, at = null) {
		this.to(this.scale * factor, at);
	}

	/** at: an event; the point under it stays where it is. */
	to(scale, at = null) {
		if (!this.node) return;
		const next = Math.min(MOST, Math.max(1, scale));
		const box = this.stage.getBoundingClientRect();
		const px = at ? at.clientX - box.left - box.width / 2 : 0;
		const py = at ? at.clientY - box.top - box.height / 2 : 0;
		this.x = px - (px - this.x) * (next / this.scale);
		this.y = py - (py - this.y) * (next / this.scale);
		this.scale = next;
		this.#apply();
	}

	toggle(at = null) {
		if (this.scale > 1) this.fit(); else this.to(2.5, at);
	}

	pan(dx, dy) {
		this.x += dx;
		this.y += dy;
		this.#apply();
	}

	#apply() {
		if (this.node) {
			const { clientWidth: w, clientHeight: h } = this.stage;
			const across = Math.max(0, (this.node.offsetWidth * this.scale - w) / 2);
			const down = Math.max(0, (this.node.offsetHeight * this.scale - h) / 2);
			this.x = Math.min(across, Math.max(-across, this.x));
			this.y = Math.min(down, Math.max(-down, this.y));
			this.node.style.transform = this.scale === 1 ? ""
				: `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
		}
		this.stage.classList.toggle("zoomed", this.scale > 1);
		this.onchange(this.scale);
	}

	#wheel(event) {
		if (!this.node) return;
		event.preventDefault();
		this.by(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0018)), event);
	}

	#down(event) {
		if (!this.node || event.button || event.target.closest("button, video")) return;
		this.pointers.set(event.pointerId, event);
		this.from = event;
		if (this.scale > 1) this.stage.setPointerCapture(event.pointerId);
	}

	#up(event) {
		const across = event.clientX - this.from?.clientX;
		if (this.scale === 1 && this.pointers.size === 1 && event.pointerType === "touch"
			&& Math.abs(across) > SWIPE) this.onswipe(-Math.sign(across));
		this.pointers.delete(event.pointerId);
	}

	#move(event) {
		const before = this.pointers.get(event.pointerId);
		if (!before) return;
		if (this.pointers.size === 2) {
			const [other] = [...this.pointers.values()].filter((one) => one.pointerId !== event.pointerId);
			const far = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
			if (far(before) > 0) this.by(far(event) / far(before), other);
		} else if (this.scale > 1) {
			this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
		}
		this.pointers.set(event.pointerId, event);
	}
}
