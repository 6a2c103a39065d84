// Asking the server: one place that knows its addresses and what an answer looks like.

const SIZES = [160, 320, 640, 1280, 2560];
const RETRIES = 4;

/** Set by app.js. gone(): no answer; back(): answers again; login(): asks for the token. */
export const on = { gone() {}, back() {}, async login() {} };

const pause = (seconds) => new Promise((done) => { setTimeout(done, seconds * 1000); });

async function once(path, { query = {}, body, form, signal, method }) {
	const asked = { method: method ?? (body || form ? "POST" : "GET"), signal,
		headers: { Accept: "application/json" }, credentials: "same-origin" };
	if (body) {
		asked.headers["Content-Type"] = "application/json";
		asked.body = JSON.stringify(body);
	} else if (form) asked.body = form;
	try {
		const answer = await fetch(withQuery(path, query), asked);
		on.back();
		return answer;
	} catch (error) {
		if (error.name === "AbortError") throw error;
		on.gone();
		throw new Error("The server does not answer.");
	}
}

async function sentence(answer) {
	try {
		return (await answer.json()).detail;
	} catch {
		return "";
	}
}

/** The answer as JSON; too busy: tries again; not logged in: asks for the token first. */
async function call(path, options = {}) {
	for (let tries = 0; ; tries += 1) {
		const answer = await once(path, options);
		if (answer.status === 204) return null;
		if (answer.ok) return answer.json();
		if (answer.status === 401 && path !== "/v1/login") {
			await on.login();
		} else if ((answer.status === 429 || answer.status === 503) && tries < RETRIES) {
			await pause(Math.min(8, Number(answer.headers.get("Retry-After")) || 1));
			if (options.signal?.aborted) throw new DOMException("", "AbortError");
		} else {
			throw Object.assign(new Error(await sentence(answer) || `The server says ${answer.status}.`),
				{ status: answer.status });
		}
	}
}

const withQuery = (path, values) => {
	const params = new URLSearchParams();
	for (const [name, value] of Object.entries(values)) {
		for (const one of [value].flat()) if ((one ?? "") !== "") params.append(name, one);
	}
	return params.size ? `${path}?${params}` : path;
};

/** Several conditions as one. */
const all = (where) => where.map((one) => `(${one})`).join(" and ");

const sized = (link, pixels) =>
	`${link}&size=${SIZES.find((size) => size >= pixels) ?? SIZES.at(-1)}`;

/** An item of an answer as the page has it. */
function hit(item) {
	return { time: null, page: null, region: null, relevance: null, ...item, key: String(item.id), place: item.part || item.kind === "text"
		? item.uri.replace(/#[^#]*$/, "") : item.uri,
		text: item.kind === "text" ? item.text : item.caption ?? "",
		/** pixels: how high it is shown */
		thumb: (pixels) => (item.thumb ? sized(item.thumb, pixels) : ""),
		file: item.image ?? "", download: item.image ? `${item.image}&download=1` : "" };
}

const page = (hits, { cursor, next_offset: offset, total = -1, note, corrected }) =>
	({ hits: hits.map(hit), cursor, offset, total, note, corrected });

/** query: see `asked` of state.js; from: {cursor, offset} of the page before. */
export async function search(query, from, signal) {
	const body = { ...query };
	if (from?.cursor) body.after = from.cursor;
	else if (from?.offset) body.offset = from.offset;
	const answer = await call("/v1/search", { body, signal });
	return page(answer.hits, answer);
}

/** Everything, newest first. */
export async function browse({ collection, where, k }, from, signal) {
	const answer = await call("/v1/items", { signal, query: { collection, where: all(where), k, sort: "taken",
		after: from?.cursor } });
	return page(answer.items, answer);
}

export async function item(id, collection) {
	const found = await call(`/v1/items/${encodeURIComponent(id)}`, { query: { collection } });
	return { ...hit(found), members: (found.members ?? []).map(hit) };
}

export const collections = () => call("/v1/collections");
export const status = () => call("/v1/status");

export async function facets(name, where, signal) {
	const path = `/v1/collections/${encodeURIComponent(name)}/facets`;
	return (await call(path, { query: { where: all(where) }, signal })).facets;
}

/** The vector of a picture that is not in the collection. */
export async function embed(file, collection) {
	const form = new FormData();
	form.append("query", JSON.stringify({ collection: collection || undefined }));
	form.append("image", file, "picture");
	return (await call("/v1/embed", { form })).vectors[0];
}

/** Groups of copies; progress(done, total) while they are being looked for. */
export async function copies(collection, progress, signal) {
	for (;;) {
		const answer = await call("/v1/duplicates", { query: { collection }, signal });
		if (answer.state === "done") {
			return { ...answer, groups: answer.groups.map(({ items }) =>
				items.map((one) => ({ ...hit(one.item), says: one.says, size: one.bytes }))) };
		}
		progress(answer.done, answer.total);
		await pause(1);
		if (signal.aborted) throw new DOMException("", "AbortError");
	}
}

/** What was taught: [{name, is_a, pictures}]. */
export const names = async (collection) => (await call("/v1/names", { query: { collection } })).names;
export const teach = (body) => call("/v1/names", { body });
export const forget = (body) => call("/v1/names", { body, method: "DELETE" });

export const login = (token) => call("/v1/login", { body: { token } });
export const logout = () => call("/v1/logout", { method: "POST" });
