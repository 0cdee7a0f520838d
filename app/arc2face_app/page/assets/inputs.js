() => {
  // Ways in that Gradio lacks: pictures pasted with the keyboard, and pictures dropped onto a zone that holds some.
  const put = (input, files) => {
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    input.files = transfer.files;
  };
  window.studio.put = put;
  const give = (zone, files) => {
    const input = zone?.querySelector("input[type=file]");
    if (!input || !files.length) return false;
    say("");
    put(input, files);
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  };
  const filled = (target) => {
    const zone = target instanceof Element ? target.closest(".photos") : null;
    return zone?.querySelector(".grid-container") ? zone : null;
  };
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      const zone = filled(event.target);
      if (!zone || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (kind === "drop") give(zone, [...event.dataTransfer.files]);
    }, true);
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    const zone = document.activeElement?.closest(".photos") ?? document.querySelector(".who .photos");
    if (give(zone, files)) event.preventDefault();
  });

  // Camera and clipboard: what goes wrong is said in a sentence below the zone, whatever the browser calls it.
  const say = (text, beside) => {
    for (const old of document.querySelectorAll(".cannot")) old.remove();
    const zone = beside ?? document.activeElement?.closest(".photos")
      ?? [...document.querySelectorAll(".photos")].find((one) => one.querySelector("video"));
    if (!text || !zone) return;
    const note = Object.assign(document.createElement("p"), { className: "note warn cannot", textContent: text });
    note.setAttribute("role", "alert");
    zone.after(note);
  };
  window.studio.cannot = say;
  const OTHERWISE = "Choose a file instead.";
  const CAMERA = {
    NotAllowedError: "The camera is blocked. Allow it for this page in the browser's address bar, or choose a file.",
    NotFoundError: `No camera was found. ${OTHERWISE}`,
    NotReadableError: `The camera is in use by another program. ${OTHERWISE}`,
    TypeError: `Browsers lend the camera only to pages on this machine or over https. ${OTHERWISE}`,
  };
  if (!navigator.mediaDevices) {
    const lacking = { getUserMedia: () => Promise.reject(new TypeError()), enumerateDevices: () => Promise.resolve([]) };
    Object.defineProperty(navigator, "mediaDevices", { value: lacking });
  }
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wish) => {
    try {
      const stream = await open(wish);
      say("");
      return stream;
    } catch (error) {
      say(CAMERA[error.name] ?? `The camera cannot be used (${error.name}). ${OTHERWISE}`);
      return new Promise(() => {}); // Gradio takes no refusal; its button stays for another try
    }
  };
  const BLOCKED = "The browser keeps the clipboard closed. Press Ctrl+V (or Cmd+V) here, or choose a file.";
  const read = navigator.clipboard?.read?.bind(navigator.clipboard);
  const clipboard = navigator.clipboard ?? {};
  clipboard.read = async () => {
    try {
      const items = await read();
      const some = items.some((item) => item.types.some((type) => type.startsWith("image/")));
      say(some ? "" : "There is no picture in the clipboard.");
      return items;
    } catch {
      say(BLOCKED);
      return [];
    }
  };
  if (!navigator.clipboard) Object.defineProperty(navigator, "clipboard", { value: clipboard });

  // How large a picture is decides how large it is shown at most (style.css).
  const sized = (image) => {
    const box = image.closest(".gallery-container, .image-container, .image-frame");
    if (box && image.naturalWidth) box.style.setProperty("--px", image.naturalWidth);
  };
  document.addEventListener("load", (event) => {
    if (event.target instanceof HTMLImageElement) sized(event.target);
  }, true);

  // What gets the focus never stays under the bar at the bottom of a phone.
  const bar = () => [...document.querySelectorAll(".run-row")]
    .find((one) => one.getClientRects().length && getComputedStyle(one).position === "fixed");
  document.addEventListener("focusin", ({ target }) => requestAnimationFrame(() => {
    const over = bar();
    if (!over || over.contains(target)) return;
    const box = (target.closest("label") ?? target).getBoundingClientRect();
    const under = box.bottom + 8 - over.getBoundingClientRect().top;
    if (under > 0 && box.height < innerHeight / 2) scrollBy({ top: under, behavior: "instant" });
  }));

  // Names for what Gradio only numbers: example pictures, and drop zones that would all be called the same.
  const named = (element, name) => {
    if (element && name && element.getAttribute("aria-label") !== name) element.setAttribute("aria-label", name);
  };
  const name = () => {
    for (const thumbnail of document.querySelectorAll(".strip .thumbnail-item")) {
      named(thumbnail, thumbnail.querySelector("img")?.alt);
    }
    for (const zone of document.querySelectorAll(".photos, .drop, .not-like")) {
      const label = zone.querySelector("[data-testid=block-label]")?.textContent.trim() || zone.dataset.name;
      named(zone.querySelector("button:has(> input[type=file]), button:has([data-testid=upload-text])"), label && `${label}: choose, or drop here`);
    }
  };
  let planned = 0;
  new MutationObserver(() => { planned ||= requestAnimationFrame(() => { planned = 0; name(); }); })
    .observe(document.body, { childList: true, subtree: true });
  name();
}
