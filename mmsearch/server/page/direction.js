// The page is mirrored in browsers of a language that is written from right to left; its English is not.

document.dir = /^(ar|ckb|dv|fa|he|ks|ps|sd|ug|ur|yi)\b/.test(navigator.language) ? "rtl" : "ltr";
