// Pictures to search with: dropped, pasted or chosen.

import { $, toast } from "./dom.js";

const THUMB = 96;   // pixels of the small picture in the search box
const LARGEST = 1024;  // pixels sent: models look at fewer

/** take(files): pictures that somebody gives. */
export function listen(take) {
	const drop = $("#drop"), input = $("#file");
	const files = (data) => [...(data?.files ?? [])].filter((file) => file.size);
	// A link, or a picture of another page, that is dropped elsewhere than in the box
	const carries = ({ dataTransfer, target }) => ["Files", "text/uri-list"].some((type) =>
		dataTransfer?.types.includes(type)) && !target.closest?.("input");
	let depth = 0;  // of entered elements: a drag over a child leaves its parent
	const end = () => { depth = 0; drop.hidden = true; };
	addEventListener("dragenter", (event) => {
		if (!carries(event)) return;
		depth += 1;
		drop.hidden = false;
	});
	addEventListener("dragleave", (event) => { if (carries(event) && --depth <= 0) end(); });
	addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
	addEventListener("drop", (event) => {
		if (!carries(event)) return;
		event.preventDefault();
		end();
		const dropped = files(event.dataTransfer);
		if (dropped.length) take(dropped);
		else toast("This page loads nothing from other sites. Copy the picture and paste it here, or drop its file.");
	});
	addEventListener("paste", (event) => {
		const pasted = files(event.clipboardData);
		if (!pasted.length) return;
		event.preventDefault();
		take(pasted);
	});
	$("#choose").addEventListener("click", () => input.click());
	input.addEventListener("change", () => {
		take([...input.files]);
		input.value = "";
	});
}

/** {send: what goes to the server, thumb: data URL or ""}: smaller where this browser can read it,
 * the file itself where it cannot (HEIC, RAW: the server can). */
export async function prepared(file) {
	try {
		const image = await createImageBitmap(file);
		const thumb = scaled(image, THUMB).toDataURL("image/webp", 0.8);
		const large = Math.max(image.width, image.height) > LARGEST;
		const send = large ? await new Promise((done) => {
			scaled(image, LARGEST).toBlob(done, "image/webp", 0.92);
		}) : file;
		return { send: send ?? file, thumb };
	} catch {
		return { send: file, thumb: "" };
	}
}

function scaled(image, side) {
	const share = Math.min(1, side / Math.max(image.width, image.height));
	const canvas = document.createElement("canvas");
	canvas.width = Math.max(1, Math.round(image.width * share));
	canvas.height = Math.max(1, Math.round(image.height * share));
	canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
	return canvas;
}
