(() => {
  // Says every text of the page in the visitor's language. A table maps English to the language (app/arc2face_app/page/texts); text
  // with braces is a pattern. Only what is shown changes: text nodes in place, and the attributes that people read.
  const names = __LANGUAGES__;
  const attributes = ["aria-label", "title", "placeholder", "alt"];
  const address = (language) => new URL(`studio/${language}.json`, document.baseURI).href;
  const known = (language) => language in names;
  let language = "en", exact = new Map(), patterns = [], answers = new Map();
  const shown = new WeakMap(); // node, or element -> { source, shown } of its text, or of each attribute

  const stored = () => { try { return localStorage.getItem("studio-language"); } catch { return null; } };
  const wanted = () => {
    const named = new URL(location.href).searchParams.get("lang");
    const own = navigator.languages.map((one) => one.toLowerCase().split("-")[0]);
    return [named, stored(), ...own].find((one) => one && known(one)) ?? "en";
  };

  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const pattern = ([from, to]) => {
    const pieces = from.split(/\{\w+\}/);
    const places = [...from.matchAll(/\{(\w+)\}/g)].map((one) => one[1]);
    // Places called n, m or k stand for numbers, the others for anything.
    const place = (name) => (/^[nmk]$/.test(name) ? "(-?\\d[\\d.,]*)" : "([\\s\\S]+?)");
    return {
      longest: pieces.reduce((a, b) => (b.length > a.length ? b : a)),
      weight: pieces.join("").length,
      test: new RegExp(`^${pieces.map((piece, k) => escaped(piece) + (places[k] ? place(places[k]) : "")).join("")}$`),
      say: (found) => to.replace(/\{(\w+)\}/g, (_, name) => say(found[1 + places.indexOf(name)] ?? "")),
    };
  };
  const learn = (table) => {
    const rows = Object.entries(table);
    exact = new Map(rows.filter(([from]) => !/\{\w+\}/.test(from)));
    patterns = rows.filter(([from]) => /\{\w+\}/.test(from)).map(pattern).sort((a, b) => b.weight - a.weight);
    answers = new Map();
  };

  // A text is known as a whole, by a pattern, or as pieces: sentences, and facts with a dot between them.
  const look = (text) => {
    if (exact.has(text)) return exact.get(text);
    for (const one of patterns) {
      const found = text.includes(one.longest) ? text.match(one.test) : null;
      if (found) return one.say(found);
    }
    for (const [between, join] of [[/\s+·\s+/, " · "], [/(?<=[.!?…])\s+/, " "]]) {
      const pieces = text.split(between);
      if (pieces.length > 1) return pieces.map(say).join(join);
    }
    return text;
  };
  // Numbers that stand for themselves, alone or with a unit or in a list: 0.66 is 0,66 in German and Spanish. Versions,
  // licences and file names are words.
  const NUMBERS = /^[-−+]?\d+(\.\d+)?\s?(s|min|%|°|×|[kMG]?B)?(, [-−+]?\d+(\.\d+)?)*\.?$/;
  const comma = (text) => (NUMBERS.test(text) ? text.replace(/(\d)\.(\d)/g, "$1,$2") : null);
  function say(text) {
    const [, before, core, after] = text.match(/^([\s·]*)([\s\S]*?)([\s·]*)$/);
    const number = comma(core);
    if (number !== null) return before + number + after;
    if (!core || !/\p{L}{2}/u.test(core) || core.length > 2000) return text;
    const key = core.replace(/\s+/g, " ");
    if (!answers.has(key)) {
      if (answers.size > 5000) answers.clear();
      answers.set(key, look(key));
    }
    return answers.get(key) === key ? text : before + answers.get(key) + after;
  }

  const silent = (element) => element?.closest("script, style, code, textarea, [translate=no], .cm-editor") ?? null;
  const put = (holder, key, now, write) => {
    const memory = shown.get(holder) ?? {};
    const source = memory[key] && memory[key].shown === now ? memory[key].source : now;
    const said = language === "en" ? source : say(source);
    memory[key] = { source, shown: said };
    shown.set(holder, memory);
    if (said !== now) write(said);
  };
  const text = (node) => { if (!silent(node.parentElement)) put(node, "text", node.data, (said) => { node.data = said; }); };
  const named = (element) => {
    for (const name of attributes) {
      const now = element.getAttribute(name);
      if (now && !silent(element)) put(element, name, now, (said) => element.setAttribute(name, said));
    }
    // A choice that is shown in a text field.
    if (element.matches("input[role=combobox]") && document.activeElement !== element) {
      put(element, "value", element.value, (said) => { element.value = said; });
    }
  };
  const all = (root) => {
    if (root.nodeType === Node.TEXT_NODE) { text(root); return; }
    if (root.nodeType !== Node.ELEMENT_NODE) return;
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = root; node; node = walker.nextNode()) node.nodeType === Node.TEXT_NODE ? text(node) : named(node);
  };
  const switches = () => {
    for (const select of document.querySelectorAll("#language")) if (select.value !== language) select.value = language;
  };
  const styled = () => {
    // What the style sheet writes itself.
    for (const [name, source] of Object.entries({
      "--say-drop-photo": "Drop a photo here, or click to choose", "--say-drop-file": "Drop a file here, or click to choose",
      "--say-tap-photo": "Tap to choose a photo",
      "--say-note": "Note", "--say-failed": "That did not work", "--say-warning": "Please note",
    })) document.documentElement.style.setProperty(name, JSON.stringify(say(source)));
  };

  const everywhere = () => {
    document.documentElement.lang = language;
    styled();
    if (document.body) all(document.body);
    switches();
  };
  async function speak(next) {
    let table = {};
    if (next !== "en") {
      try {
        const answer = await fetch(address(next), { credentials: "same-origin" });
        if (!answer.ok) return;
        table = await answer.json();
      } catch { return; }
    }
    language = next;
    learn(table);
    everywhere();
  }

  let planned = 0;
  const fields = () => {
    planned ||= requestAnimationFrame(() => { planned = 0; document.querySelectorAll("input[role=combobox]").forEach(named); });
  };
  const watch = () => {
    new MutationObserver((changes) => {
      if (language !== "en") {
        for (const change of changes) {
          if (change.type === "childList") change.addedNodes.forEach(all);
          else if (change.type === "characterData") text(change.target);
          else named(change.target);
        }
        fields(); // what a list shows is set without a change of the document
      }
      // Gradio names the browser's language, whatever is shown.
      if (document.documentElement.lang !== language) document.documentElement.lang = language;
      switches();
    }).observe(document.documentElement, {
      childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: [...attributes, "lang"],
    });
    for (const kind of ["change", "focusout", "click"]) document.addEventListener(kind, fields);
    document.addEventListener("change", (event) => {
      if (!(event.target instanceof HTMLSelectElement) || event.target.id !== "language") return;
      try { localStorage.setItem("studio-language", event.target.value); } catch { /* private windows may refuse */ }
      void speak(event.target.value);
    });
  };
  watch();
  if (wanted() !== "en") void speak(wanted());
})();
