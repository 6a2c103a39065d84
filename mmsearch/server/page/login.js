// Asking for the token of a server that has one.

import { $, el } from "./dom.js";
import { login } from "./api.js";

let waiting = null;

/** Resolves when somebody is logged in; asked again meanwhile, it is the same dialog. */
export function askToLogIn() {
	waiting ??= new Promise((done) => { show(done); }).finally(() => { waiting = null; });
	return waiting;
}

function show(done) {
	const dialog = $("#login");
	const token = el("input", { id: "token", type: "password", name: "token", required: true,
		autocomplete: "current-password" });
	const wrong = el("p", { class: "wrong", role: "alert" });
	const send = el("button", { type: "submit", class: "solid" }, "Log in");
	const form = el("form", { onsubmit: async (event) => {
		event.preventDefault();
		send.disabled = true;
		try {
			await login(token.value);
			dialog.close();
			done();
		} catch (error) {
			wrong.textContent = error.message;
			token.select();
		}
		send.disabled = false;
	} },
	el("h2", { id: "login-title" }, "Log in"),
	el("p", {}, "This collection is protected. Enter the token that the server was started with."),
	el("label", { for: "token" }, "Token"), token, wrong, send);
	dialog.replaceChildren(form);
	dialog.addEventListener("cancel", (event) => event.preventDefault());
	if (!dialog.open) dialog.showModal();
	token.focus();
}
