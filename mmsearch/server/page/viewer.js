// One result, large: a picture that zooms, a video at its moment, a page, a part of a picture.

import { $, RIGHT, clock, copy, doing, el, foreign, press, shown, withModifier } from "./dom.js";
import { details } from "./details.js";
import { titleOf } from "./tile.js";
import { Zoom } from "./zoom.js";

const NARROW = 720;  // pixels of a screen on which the picture comes first
const SHOWN_BY_BROWSERS = /^image.(jpeg|png|webp|gif|avif|bmp)$/;

/** How high a picture can be seen here, in pixels. */
const large = () => innerHeight * Math.min(devicePixelRatio, 2);

/** How far a key moves what is enlarged, in pixels. */
const MOVES = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };

export class Viewer {
	/** on: {step(by), closed(), act(does, hit), narrow(field, value), item(hit)} */
	constructor(dialog, on) {
		Object.assign(this, { dialog, on, hit: null, about: null });
		this.info = (localStorage.getItem("info") ?? (innerWidth > NARROW ? "yes" : "no")) === "yes";
		for (const part of ["stage", "panel", "position"]) this[part] = $(`.${part}`, dialog);
		this.download = $("#download");
		this.zoom = new Zoom(this.stage, (scale) => this.#zoomed(scale), (by) => on.step(by * RIGHT));
		const acts = { close: on.closed, previous: () => on.step(-1), next: () => on.step(1),
			in: () => this.zoom.by(1.6), out: () => this.zoom.by(1 / 1.6), info: () => this.#toggleInfo(),
			copy: () => copy(this.hit.place, "Path copied") };
		dialog.addEventListener("click", (event) => {
			const does = doing(event);
			if (acts[does]) acts[does](); else if (does) on.act(does, this.hit);
		});
		dialog.addEventListener("keydown", (event) => this.#key(event));
		dialog.addEventListener("cancel", (event) => { event.preventDefault(); on.closed(); });
		this.#showInfo();
	}

	get isOpen() { return this.dialog.open; }

	#button(does) {
		return $(`[data-does=${does}]`, this.dialog);
	}

	show(hit) {
		const opening = !this.dialog.open;
		this.hit = hit;
		this.#media(hit);
		this.download.href = hit.download;
		if (opening) this.dialog.showModal();
		$("[role=status]", this.dialog).textContent = titleOf(hit);
		this.#about(hit);
	}

	/** Where it is among the results; -1: nowhere. */
	place(index, total) {
		this.position.textContent = index < 0 ? "" : `${index + 1} / ${total}`;
		this.#button("previous").disabled = index <= 0;
		this.#button("next").disabled = index < 0 || index === total - 1;
	}

	close() {
		$("video", this.stage)?.pause();
		this.stage.replaceChildren();
		this.zoom.show(null);
		this.hit = null;
		if (this.dialog.open) this.dialog.close();
	}

	async #about(hit) {
		this.about = null;
		this.panel.replaceChildren(foreign("h2", titleOf(hit)));
		try {
			const item = await this.on.item(hit);
			if (this.hit !== hit) return;
			this.about = item;
			this.panel.replaceChildren(...details(item, hit, this.on.narrow));
			this.panel.scrollTop = 0;
			const whole = hit.region && item.members.find((one) => one.kind === "image" && !one.region);
			if (whole) this.#part(whole, hit.region);
		} catch (error) {
			if (this.hit === hit) this.panel.append(el("p.wrong", error.message));
		}
	}

	#media(hit) {
		const view = !hit.thumb(0) ? foreign("blockquote.reading", hit.text)
			: hit.media === "video" ? this.#video(hit) : this.#picture(hit);
		this.stage.replaceChildren(view);
		const zooms = view.classList.contains("frame");
		this.zoom.show(zooms ? view : null);
		$(".zooms", this.dialog).hidden = !zooms;
	}

	#video(hit) {
		const video = el("video", { src: hit.file, controls: true, autoplay: true, playsinline: true,
			poster: hit.thumb(large()), "aria-label": titleOf(hit) });
		video.addEventListener("loadedmetadata", () => { video.currentTime = hit.time ?? 0; },
			{ once: true });
		video.addEventListener("error", () => {
			const frame = this.#picture(hit);
			frame.append(el("p.hint",
				`This browser cannot play it. Shown is the moment ${clock(hit.time ?? 0)}.`));
			video.replaceWith(frame);
		});
		return video;
	}

	#picture(hit) {
		const moves = hit.time !== null && SHOWN_BY_BROWSERS.test(hit.media_type);
		const img = el("img", { src: moves ? hit.file : hit.thumb(large()),
			width: hit.height && hit.width, height: hit.width && hit.height, alt: shown(hit.text) || titleOf(hit), draggable: "false" });
		if (hit.width && hit.height) {  // its place, before it is there
			img.style.setProperty("--w", hit.width);
			img.style.setProperty("--h", hit.height);
		}
		const frame = el("div.frame", img);
		img.addEventListener("error", () => frame.replaceChildren(el("p.hint",
			"This picture cannot be shown. Its file may have been moved or is damaged.")));
		if (hit.page !== null) {
			frame.append(el("a.open-page", { href: `${hit.file}#page=${hit.page}`,
				target: "_blank", rel: "noopener" }, `Open the document at page ${hit.page}`));
		}
		return frame;
	}

	/** A part of a picture is shown where it is in the whole. */
	#part(whole, region) {
		const [left, top, width, height] = region.map((share) => `${share}%`);
		const part = el("div.part", { role: "img", "aria-label": "The part that was found" });
		Object.assign(part.style, { left, top, width, height });
		const frame = this.#picture(whole);
		frame.append(part);
		this.stage.replaceChildren(frame);
		this.zoom.show(frame);
	}

	/** Enlarged, the file itself is shown, where a browser can. */
	#zoomed(scale) {
		this.#button("out").disabled = scale <= 1;
		const img = $(".frame img", this.stage);
		if (scale <= 1.2 || !img || this.hit.page !== null || this.hit.time !== null) return;
		if (!SHOWN_BY_BROWSERS.test(this.hit.media_type) || img.dataset.full) return;
		img.dataset.full = "yes";
		const full = new Image();
		full.src = this.hit.file;
		full.decode().then(() => { if (img.isConnected) img.src = full.src; }, () => {});
	}

	#toggleInfo() {
		this.info = !this.info;
		localStorage.setItem("info", this.info ? "yes" : "no");
		this.#showInfo();
	}

	#showInfo() {
		this.dialog.classList.toggle("with-info", this.info);
		this.#button("info").setAttribute("aria-pressed", String(this.info));
	}

	#key(event) {
		const { key, target } = event, move = MOVES[key];
		if (withModifier(event) || (move && target.closest(move[1] ? "video, .panel, .reading" : "video"))) return;
		if (move && this.zoom.scale > 1) this.zoom.pan(...move);
		else if (move?.[0]) this.on.step(-Math.sign(move[0]) * RIGHT);
		else if (key === "0") this.zoom.fit();
		else if (key === "z") this.zoom.toggle();
		else if (!press(this.dialog, event)) return;
		event.preventDefault();
	}
}
