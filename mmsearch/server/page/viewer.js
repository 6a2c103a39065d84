// One result, large: a picture that zooms, a video at its moment, a page, a part of a picture.

import { $, button, clock, copy, el, foreign, icon, iconButton, shown } from "./dom.js";
import { details } from "./details.js";
import { titleOf } from "./tile.js";
import { Zoom } from "./zoom.js";

const NARROW = 720;  // pixels of a screen on which the picture comes first
const MOVING = "image/gif";
const SHOWN_BY_BROWSERS = new Set(["jpeg", "png", "webp", "gif", "avif", "bmp"]);

/** How high a picture can be seen here, in pixels. */
const large = () => innerHeight * Math.min(devicePixelRatio, 2);

export class Viewer {
	/** on: {step(by), closed(), like(hit), unlike(hit), narrow(field, value), item(hit)} */
	constructor(dialog, on) {
		Object.assign(this, { dialog, on, hit: null, about: null });
		this.info = (localStorage.getItem("info") ?? (innerWidth > NARROW ? "yes" : "no")) === "yes";
		this.#build();
		this.zoom = new Zoom(this.stage, (scale) => this.#zoomed(scale), (by) => this.on.step(by));
		dialog.addEventListener("keydown", (event) => this.#key(event));
		dialog.addEventListener("cancel", (event) => { event.preventDefault(); this.on.closed(); });
	}

	get isOpen() { return this.dialog.open; }

	#build() {
		this.stage = el("div", { class: "stage" });
		this.position = el("p", { class: "position" });
		this.said = el("p", { class: "hidden", role: "status" });
		this.panel = el("aside", { class: "panel", "aria-label": "About this picture", tabindex: "0" });
		this.previous = iconButton("left", "Previous (left arrow)", () => this.on.step(-1), { class: "icon-button turn before" });
		this.next = iconButton("right", "Next (right arrow)", () => this.on.step(1), { class: "icon-button turn after" });
		this.infoButton = iconButton("info", "About this picture (i)", () => this.#toggleInfo());
		this.download = el("a", { class: "icon-button", "aria-label": "Download (d)",
			title: "Download (d)", download: "" }, icon("download"));
		this.zoomIn = iconButton("in", "Zoom in (+)", () => this.zoom.by(1.6));
		this.zoomOut = iconButton("out", "Zoom out (−)", () => this.zoom.by(1 / 1.6));
		this.dialog.append(
			el("div", { class: "bar" },
				iconButton("close", "Close (Esc)", () => this.on.closed(), { class: "icon-button close" }),
				this.position,
				button({ class: "quiet", onclick: () => this.on.like(this.hit) },
					icon("more"), el("span", {}, "More like this")),
				button({ class: "quiet", onclick: () => this.on.unlike(this.hit) },
					icon("less"), el("span", {}, "Less like this")),
				el("span", { class: "zooms" }, this.zoomOut, this.zoomIn),
				iconButton("copy", "Copy the path (c)", () => this.copy()), this.download, this.infoButton),
			el("div", { class: "view" }, this.previous, this.stage, this.next), this.panel, this.said);
		this.#showInfo();
	}

	show(hit) {
		const opening = !this.dialog.open;
		this.hit = hit;
		this.#media(hit);
		this.download.href = hit.download;
		if (opening) this.dialog.showModal();
		if (opening) $(".close", this.dialog).focus();
		this.said.textContent = titleOf(hit);
		this.#about(hit);
	}

	/** Where it is among the results; -1: nowhere. */
	place(index, total) {
		this.position.textContent = index < 0 ? "" : `${index + 1} / ${total}`;
		this.previous.disabled = index <= 0;
		this.next.disabled = index < 0 || index === total - 1;
	}

	close() {
		$("video", this.stage)?.pause();
		this.stage.replaceChildren();
		this.zoom.show(null);
		this.hit = null;
		if (this.dialog.open) this.dialog.close();
	}

	copy() {
		copy(this.hit.place, "Path copied");
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
			if (this.hit === hit) this.panel.append(el("p", { class: "wrong" }, error.message));
		}
	}

	#media(hit) {
		const view = !hit.thumb(0) ? this.#words(hit)
			: hit.media === "video" ? this.#video(hit) : this.#picture(hit);
		this.stage.replaceChildren(view);
		const zooms = view.classList.contains("frame");
		this.zoom.show(zooms ? view : null);
		for (const button of [this.zoomIn, this.zoomOut]) button.hidden = !zooms;
	}

	#words(hit) {
		return foreign("blockquote", hit.text, { class: "reading" });
	}

	#video(hit) {
		const video = el("video", { src: hit.file, controls: true, autoplay: true, playsinline: true,
			poster: hit.thumb(large()), "aria-label": titleOf(hit) });
		video.addEventListener("loadedmetadata", () => { video.currentTime = hit.time ?? 0; },
			{ once: true });
		video.addEventListener("error", () => {
			const frame = this.#picture(hit);
			frame.append(el("p", { class: "hint" },
				`This browser cannot play it. Shown is the moment ${clock(hit.time ?? 0)}.`));
			video.replaceWith(frame);
		});
		return video;
	}

	#picture(hit) {
		const img = el("img", { src: hit.media_type === MOVING ? hit.file : hit.thumb(large()),
			width: hit.height && hit.width, height: hit.width && hit.height, alt: shown(hit.text) || titleOf(hit), draggable: "false" });
		if (hit.width && hit.height) {  // its place, before it is there
			img.style.setProperty("--w", hit.width);
			img.style.setProperty("--h", hit.height);
		}
		const frame = el("div", { class: "frame" }, img);
		img.addEventListener("error", () => frame.replaceChildren(el("p", { class: "hint" },
			"This picture cannot be shown. Its file may have been moved or is damaged.")));
		if (hit.page !== null) {
			frame.append(el("a", { class: "open-page", href: `${hit.file}#page=${hit.page}`,
				target: "_blank", rel: "noopener" }, `Open the document at page ${hit.page}`));
		}
		return frame;
	}

	/** A part of a picture is shown where it is in the whole. */
	#part(whole, region) {
		const [left, top, width, height] = region.map((share) => `${share}%`);
		const part = el("div", { class: "part", role: "img", "aria-label": "The part that was found" });
		Object.assign(part.style, { left, top, width, height });
		const frame = this.#picture(whole);
		frame.append(part);
		this.stage.replaceChildren(frame);
		this.zoom.show(frame);
	}

	/** Enlarged, the file itself is shown, where a browser can. */
	#zoomed(scale) {
		this.zoomOut.disabled = scale <= 1;
		const img = $(".frame img", this.stage);
		if (scale <= 1.2 || !img || this.hit.page !== null || this.hit.time !== null) return;
		const format = (this.about?.meta.format ?? "").toLowerCase();
		if (!SHOWN_BY_BROWSERS.has(format) || img.dataset.full) return;
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
		this.infoButton.setAttribute("aria-pressed", String(this.info));
	}

	#key(event) {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		const inVideo = event.target.closest("video"), inPanel = event.target.closest(".panel");
		const keys = {
			ArrowLeft: () => (this.zoom.scale > 1 ? this.zoom.pan(80, 0) : this.on.step(-1)),
			ArrowRight: () => (this.zoom.scale > 1 ? this.zoom.pan(-80, 0) : this.on.step(1)),
			"+": () => this.zoom.by(1.6), "=": () => this.zoom.by(1.6), "-": () => this.zoom.by(1 / 1.6),
			0: () => this.zoom.fit(), z: () => this.zoom.toggle(), i: () => this.#toggleInfo(),
			c: () => this.copy(), d: () => this.download.click(), m: () => this.on.like(this.hit),
			l: () => this.on.unlike(this.hit) };
		if (this.zoom.scale > 1) {
			keys.ArrowUp = () => this.zoom.pan(0, 80);
			keys.ArrowDown = () => this.zoom.pan(0, -80);
		}
		if (!keys[event.key] || (inVideo && event.key.startsWith("Arrow"))) return;
		if (inPanel && (event.key === "ArrowUp" || event.key === "ArrowDown")) return;
		event.preventDefault();
		keys[event.key]();
	}
}

